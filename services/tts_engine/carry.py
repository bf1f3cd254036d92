"""Make a graph of 1-D convolutions run over windows of its input, each output computed once and exactly.

A convolution needs neighbours of each sample. Cutting its input into windows, one either computes the
neighbours again for every window (overlap) or keeps what the next window needs. Here each convolution carries
the last samples of its input from run to run, as a state that goes out of the graph and in again:

    state, window ─Concat─┬─ Conv without padding ─▶ the next outputs
                          └─ its last samples ─▶ state

An output comes as soon as its last neighbour is there, so each tensor lags behind the input by a fixed number
of samples; where two tensors meet (a residual, a sum of blocks) the earlier one waits, in a state too. The
padding of the whole input's ends is the first state, and zeros put behind the last window.

The windows' outputs, joined, are the output for the whole input: the same sums of the same products, whatever
the windows, up to the order in which a matrix product of another length adds (120 dB and better).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tts_engine.graphs import copy_of, like, options_of

# Inputs next to the states: int64 (1,), 1 on the first, or the last, window of an input, else 0.
FIRST = "first"
LAST = "last"
NEXT = "/next"  # what a state's name ends with where it comes out

_END = 2**62  # as the end of a slice: everything

# From this rate on a window is computed with its neighbours (overlap) and trimmed, once for all convolutions
# of the rate: their reach is short against the window there, and copying states costs more than computing
# twice. Measured on Piper's medium voices, windows of 64 frames: 14 % more than the whole graph without this.
OVERLAP_RATE = 64

_POINTWISE = {"LeakyRelu", "Relu", "Tanh", "Sigmoid", "Exp", "Neg", "Identity", "Slice", "Split"}
_TOGETHER = {"Add", "Sub", "Mul", "Div", "Concat"}


class CannotCarry(Exception):
    """The graph has a node that this cannot window; the message names it."""


@dataclass(frozen=True)
class Windowed:
    """A graph that is run window by window.

    `states`: of each state, its first value, (1, channels, samples) float32. `rate`: output samples per input
    sample. `lag`: by how many output samples the output is behind; the last window brings them.
    The first window must be longer than the lag, unless it is the last one, too: it brings nothing otherwise.
    """

    model: ModelProto
    states: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    rate: int
    lag: int


@dataclass(frozen=True)
class _Signal:
    """A tensor with a time axis: samples per input sample, and how many of them it is behind."""

    rate: int
    lag: int
    channels: int


def carry(model: ModelProto, window: str) -> Windowed:
    """`model` with one output, over windows of its input `window`, (1, channels, n). Raises CannotCarry."""
    return _Pass(model, window).windowed()


class _Pass:
    """One walk over a graph, node by node."""

    def __init__(self, model: ModelProto, window: str) -> None:
        self._source = model
        self._channel_counts = _channel_counts(model)
        self._signals = {window: _Signal(1, 0, self._channels(window))}
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._states: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
        self._delayed: dict[tuple[str, int], str] = {}
        self._reach = _reaches(model, window)

    def windowed(self) -> Windowed:
        source = self._source.graph
        for node in source.node:
            self._visit(node)
        (output,) = source.output
        signal = self._signals[output.name]
        trimmed = self._trimmed(output.name)
        flags = [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in (FIRST, LAST)]
        states = [_state_info(name, value) for name, value in self._states.items()]
        nexts = [_state_info(name + NEXT, value) for name, value in self._states.items()]
        model = like(
            self._source,
            self._nodes,
            [*source.input, *flags, *states],
            [helper.make_tensor_value_info(trimmed, TensorProto.FLOAT, None), *nexts],
            self._constants.values(),
        )
        return Windowed(model, self._states, signal.rate, self._signals[trimmed].lag)

    def _visit(self, node: NodeProto) -> None:
        signals = [self._signals[name] for name in node.input if name in self._signals]
        if not signals:
            self._nodes.append(node)  # the speaker's part: no time in it
        elif node.op_type != "ConvTranspose" and signals[0].rate >= OVERLAP_RATE:
            self._pointwise(node, signals[0])  # whose edges are wrong by its reach, until they are trimmed
        elif node.op_type == "Conv":
            self._convolution(node, signals[0])
        elif node.op_type == "ConvTranspose":
            self._upsampling(node, signals[0])
        elif node.op_type in _POINTWISE and len(signals) == 1:
            self._pointwise(node, signals[0])
        elif node.op_type in _TOGETHER:
            self._together(node, signals)
        else:
            raise CannotCarry(f"{node.op_type} {node.name!r} is not known to work window by window")

    def _pointwise(self, node: NodeProto, signal: _Signal) -> None:
        self._nodes.append(node)
        for name in node.output:
            self._signals[name] = _Signal(signal.rate, signal.lag, self._channels(name))

    def _together(self, node: NodeProto, signals: Sequence[_Signal]) -> None:
        lag = max(signal.lag for signal in signals)
        if len({signal.rate for signal in signals}) != 1:
            raise CannotCarry(f"{node.op_type} {node.name!r} joins signals of different rates")
        inputs = [self._delay(name, lag) if name in self._signals else name for name in node.input]
        self._nodes.append(_with_inputs(node, inputs))
        name = node.output[0]
        self._signals[name] = _Signal(signals[0].rate, lag, self._channels(name))

    def _convolution(self, node: NodeProto, signal: _Signal) -> None:
        options = options_of(node)
        reach = (options["kernel_shape"][0] - 1) * options["dilations"][0]
        if options["pads"] != [reach // 2, reach // 2] or reach % 2 or options["strides"] != [1]:
            raise CannotCarry(f"Conv {node.name!r} is not centred with stride 1")
        name = node.output[0]
        source = node.input[0]
        if reach:
            source = self._extended(source, signal, before=reach // 2, kept=reach, after=reach // 2)
        unpadded = _with_inputs(node, [source, *node.input[1:]])
        _set_pads(unpadded, [0, 0])
        self._nodes.append(unpadded)
        self._signals[name] = _Signal(signal.rate, signal.lag + reach // 2, self._channels(name))

    def _upsampling(self, node: NodeProto, signal: _Signal) -> None:
        """Frame i reaches outputs [i·stride - pad, i·stride - pad + kernel): one earlier frame is needed."""
        options = options_of(node)
        (kernel,), (stride,), (pad, pad_after) = (options[key] for key in ("kernel_shape", "strides", "pads"))
        if (
            options["dilations"] != [1]
            or pad != pad_after
            or kernel != stride + 2 * pad
            or kernel > 2 * stride
        ):
            raise CannotCarry(f"ConvTranspose {node.name!r} is no plain upsampling")
        name, source = node.output[0], self._trimmed(node.input[0])
        signal = self._signals[source]
        extended = self._extended(source, signal, before=1, kept=1, after=0)
        unpadded = _with_inputs(node, [extended, *node.input[1:]])
        unpadded.output[0] = f"{name}/full"
        _set_pads(unpadded, [0, 0])
        self._nodes.append(unpadded)
        # Of the first window, what the zero frame before it gave is no output; of the last, the end is one.
        start = self._linear(FIRST, pad, stride)
        end = self._linear(LAST, pad, stride - kernel)
        upsampled = _Signal(signal.rate * stride, signal.lag * stride + pad, self._channels(name))
        if upsampled.rate < OVERLAP_RATE:
            self._add("Slice", [f"{name}/full", start, end, self._constant([2])], name)
        else:
            self._add("Slice", [f"{name}/full", start, end, self._constant([2])], f"{name}/new")
            self._overlap(f"{name}/new", upsampled, name)
        self._signals[name] = upsampled

    def _overlap(self, new: str, signal: _Signal, name: str) -> None:
        """Put in front of `new` the samples before it that this rate's convolutions reach, on both sides."""
        reach = self._reach[signal.rate]
        joined = self._extended(new, signal, before=0, kept=2 * reach, after=0)
        self._add("Identity", [joined], name)

    def _trimmed(self, name: str) -> str:
        """`name` without what was computed from too few neighbours."""
        signal = self._signals[name]
        if signal.rate < OVERLAP_RATE:
            return name
        reach = self._reach[signal.rate]
        bounds = [self._linear(FIRST, -reach, reach), self._linear(LAST, _END, -reach), self._constant([2])]
        self._add("Slice", [name, *bounds], f"{name}/trimmed")
        self._signals[f"{name}/trimmed"] = _Signal(signal.rate, signal.lag + reach, signal.channels)
        return f"{name}/trimmed"

    def _delay(self, name: str, lag: int) -> str:
        """`name` as much behind as `lag`."""
        signal = self._signals[name]
        wait = lag - signal.lag
        if not wait:
            return name
        if (name, wait) not in self._delayed:
            extended = self._extended(name, signal, before=0, kept=wait, after=wait)
            delayed = self._delayed[name, wait] = f"{name}/behind{wait}"
            self._add("Slice", [extended, *map(self._constant, ([0], [-wait], [2]))], delayed)
        return self._delayed[name, wait]

    def _extended(self, name: str, signal: _Signal, *, before: int, kept: int, after: int) -> str:
        """The state and `name`, and `after` zeros behind the last window; of it, the last `kept` are kept."""
        state = f"{name}/state{len(self._states)}"
        self._states[state] = np.zeros((1, signal.channels, before), np.float32)
        ends = [self._zeros(signal.channels, after)] if after else []
        joined = f"{state}/joined"
        self._add("Concat", [state, name, *ends], joined, axis=2)
        self._add("Slice", [joined, *map(self._constant, ([-kept], [_END], [2]))], state + NEXT)
        return joined

    def _zeros(self, channels: int, samples: int) -> str:
        """(1, channels, samples) zeros behind the last window, none behind another."""
        name = f"{LAST}/zeros{channels}x{samples}"
        if name not in self._signals:
            shape = f"{name}/shape"
            self._add(
                "Concat", [self._constant([1, channels]), self._linear(LAST, samples, 0)], shape, axis=0
            )
            self._add("ConstantOfShape", [shape], name)
            self._signals[name] = _Signal(1, 0, channels)
        return name

    def _linear(self, flag: str, factor: int, offset: int) -> str:
        """flag · factor + offset, int64 (1,)."""
        name = f"{flag}/{factor}/{offset}"
        if name not in self._signals:
            self._add("Mul", [flag, self._constant([factor])], f"{name}/product")
            self._add("Add", [f"{name}/product", self._constant([offset])], name)
            self._signals[name] = _Signal(1, 0, 1)
        return name

    def _constant(self, values: list[int]) -> str:
        name = "/".join(["int64", *map(str, values)])
        self._constants[name] = numpy_helper.from_array(np.array(values, np.int64), name)
        return name

    def _add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))

    def _channels(self, name: str) -> int:
        if name not in self._channel_counts:
            raise CannotCarry(f"the number of channels of {name!r} is not known")
        return self._channel_counts[name]


def _channel_counts(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: dims[1].dim_value
        for value in (*graph.input, *graph.value_info, *graph.output)
        if len(dims := value.type.tensor_type.shape.dim) == 3 and dims[1].HasField("dim_value")
    }


def _reaches(model: ModelProto, window: str) -> dict[int, int]:
    """At each rate, how many samples to each side its convolutions reach, one after the other."""
    signals = {window: (1, 0)}
    for node in model.graph.node:
        inputs = [signals[name] for name in node.input if name in signals]
        if not inputs:
            continue
        rate, reach = max(inputs)
        if node.op_type == "Conv":
            options = options_of(node)
            reach += (options["kernel_shape"][0] - 1) // 2 * options["dilations"][0]
        elif node.op_type == "ConvTranspose":
            rate, reach = rate * options_of(node)["strides"][0], 0
        signals.update(dict.fromkeys(node.output, (rate, reach)))
    reaches: dict[int, int] = {}
    for rate, reach in signals.values():
        reaches[rate] = max(reach, reaches.get(rate, 0))
    return reaches


def _set_pads(node: NodeProto, pads: list[int]) -> None:
    for attribute in node.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = pads


def _with_inputs(node: NodeProto, inputs: Sequence[str]) -> NodeProto:
    copy = copy_of(node)
    copy.input[:] = inputs
    return copy


def _state_info(name: str, first: np.ndarray[Any, np.dtype[np.float32]]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, first.shape[1], None])
