"""A windowed decoder in bf16: its first part in onnxruntime as it is, the rest in OpenVINO.

    z ─ flow, in fp32 ─▶ the first upsampling's frames ─ vocoder, in bf16 ─▶ samples

The flow stays in fp32: the vocoder makes much of a small error in its input. Measured on Piper's medium
voices, against fp32: 41 to 43 dB so, 25 dB with the flow in bf16. The whole pipeline takes 25 % less time.

OpenVINO keeps what it made for each length it has met, 6 MB each. So it gets the lengths of the windows' plan
only, each compiled for good, which is faster, too; what is left at an utterance's end is done in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino  # type: ignore[import-not-found,import-untyped,unused-ignore]  # an extra, ships no types
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tts_engine import carry
from tts_engine.cut import CannotCut
from tts_engine.runtime import Session, Tensors
from tts_engine.subpixel import PHASES

# A run stays on its caller's thread: with two streams it would go to a thread of OpenVINO's, and pinned, it
# would wait for its core while another is free.
_CONFIG = {
    "INFERENCE_PRECISION_HINT": "bf16",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}

# The last window goes through the vocoder in pieces of so many frames, like the other windows, until
# less than two of the smallest are left.
_PIECES = (64, 32, 16)

_NO = np.zeros(1, np.int64)


def has_bf16() -> bool:
    """Whether this CPU computes in bf16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def decoder(model: ModelProto, in_fp32: Callable[[bytes], Session]) -> Session:
    """A windowed decoder, ready to run. Raises CannotCut."""
    parts = halves(model)
    outputs = [value.name for value in model.graph.output]
    return _Decoder(
        _Part(in_fp32(parts.flow.SerializeToString()), parts.flow),
        _Part(in_fp32(parts.vocoder.SerializeToString()), parts.vocoder),
        _Part(_Vocoder(parts.vocoder), parts.vocoder),
        parts.frames,
        outputs,
    )


@dataclass(frozen=True)
class Halves:
    """A decoder in two. `flow` makes `frames`, of the latent's rate, and its own next states; `vocoder` takes
    `frames` and makes the audio, and its own next states."""

    flow: ModelProto
    vocoder: ModelProto
    frames: str


def halves(model: ModelProto) -> Halves:
    """Cut a windowed decoder at its first upsampling. Raises CannotCut."""
    nodes = list(model.graph.node)
    upsampling = next((node for node in nodes if node.output[0].endswith(PHASES)), None)
    if upsampling is None:
        raise CannotCut("the decoder has no upsampling that a convolution does")
    joined, weights = upsampling.input[:2]
    # Where `carry` has put the state in front of it.
    frames = next(node.input[1] for node in nodes if node.output[0] == joined)
    channels = next(tensor.dims[1] for tensor in model.graph.initializer if tensor.name == weights)
    audio, *nexts = (value.name for value in model.graph.output)
    needed = {name for node in _before(nodes, [frames]) for name in node.input}
    in_flow = [name for name in nexts if name.removesuffix(carry.NEXT) in needed]
    in_vocoder = [name for name in nexts if name not in in_flow]
    between = helper.make_tensor_value_info(frames, TensorProto.FLOAT, [1, channels, None])
    return Halves(
        flow=_part(model, [], [between, *_named(model.graph.output, in_flow)]),
        vocoder=_part(model, [between], _named(model.graph.output, [audio, *in_vocoder])),
        frames=frames,
    )


class _Part:
    """A part of a windowed graph, run by names."""

    def __init__(self, session: Session, graph: ModelProto) -> None:
        self._session = session
        self._outputs = [value.name for value in graph.graph.output]

    def run(self, inputs: Tensors) -> dict[str, npt.NDArray[Any]]:
        return dict(zip(self._outputs, self._session.run(inputs), strict=True))


class _Decoder:
    def __init__(
        self, flow: _Part, exact: _Part, vocoder: _Part, frames: str, outputs: Sequence[str]
    ) -> None:
        """`exact`: the vocoder in fp32; `outputs`: the whole decoder's."""
        self._flow, self._exact, self._vocoder = flow, exact, vocoder
        self._frames = frames
        self._outputs = outputs

    def run(self, inputs: Tensors) -> list[npt.NDArray[Any]]:
        made = self._flow.run(inputs)
        made |= self._vocode({**inputs, self._frames: made[self._frames]})
        return [made[name] for name in self._outputs]

    def _vocode(self, inputs: Tensors) -> dict[str, npt.NDArray[Any]]:
        """One window; of an utterance's last one, pieces in bf16 and the end in fp32."""
        if not inputs[carry.LAST][0]:
            return self._vocoder.run(inputs)
        if inputs[carry.FIRST][0]:
            return self._exact.run(inputs)
        audio = self._outputs[0]
        frames, pieces, state = inputs[self._frames], [], dict(inputs)
        for size in _pieces(frames.shape[2]):
            piece, frames = frames[:, :, :size], frames[:, :, size:]
            made = self._vocoder.run({**state, self._frames: np.ascontiguousarray(piece), carry.LAST: _NO})
            pieces.append(made[audio])
            state.update((name.removesuffix(carry.NEXT), array) for name, array in made.items())
        made = self._exact.run({**state, self._frames: frames})
        return {**made, audio: np.concatenate([*pieces, made[audio]], axis=2)}


def _pieces(n_frames: int) -> list[int]:
    sizes = []
    for size in _PIECES:
        while n_frames >= size + _PIECES[-1]:
            sizes.append(size)
            n_frames -= size
    return sizes


class _Vocoder:
    """Compiles at the first window of each shape (0.1 s), and once more for each run at the same time."""

    def __init__(self, graph: ModelProto) -> None:
        self._core = openvino.Core()
        self._graphs = {first: _in_the_middle(graph, first).SerializeToString() for first in (0, 1)}
        flags = {carry.FIRST, carry.LAST}
        self._inputs = [value.name for value in graph.graph.input if value.name not in flags]
        self._idle: dict[tuple[Any, ...], list[Any]] = {}

    def run(self, inputs: Tensors) -> list[npt.NDArray[Any]]:
        wanted = {name: inputs[name] for name in self._inputs}
        first = int(inputs[carry.FIRST][0])
        idle = self._idle.setdefault((first, *(array.shape for array in wanted.values())), [])
        try:
            request = idle.pop()
        except IndexError:
            request = self._compiled(first, wanted).create_infer_request()
        results = request.infer(wanted, share_inputs=True, share_outputs=True)
        outputs = [np.array(array) for array in results.values()]
        idle.append(request)
        return outputs

    def _compiled(self, first: int, inputs: Tensors) -> Any:
        model = self._core.read_model(self._graphs[first])
        model.reshape({name: array.shape for name, array in inputs.items()})
        return self._core.compile_model(model, "CPU", _CONFIG)


def _in_the_middle(model: ModelProto, first: int) -> ModelProto:
    """`model` for the first window, or for those after it, and not for the last one."""
    graph = model.graph
    flags = {carry.FIRST: first, carry.LAST: 0}
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in flags.items()]
    inputs = [value for value in graph.input if value.name not in flags]
    return _model(model, graph.node, inputs, graph.output, [*graph.initializer, *constants])


def _before(nodes: Sequence[NodeProto], tensors: Iterable[str], stop: Iterable[str] = ()) -> list[NodeProto]:
    """The nodes that make `tensors`, in the graph's order, without what makes `stop`."""
    needed, found = set(tensors), list[NodeProto]()
    for node in reversed(nodes):
        if needed.difference(stop).intersection(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


def _named(values: Iterable[ValueInfoProto], names: Iterable[str]) -> list[ValueInfoProto]:
    known = {value.name: value for value in values}
    return [known[name] for name in names]


def _part(
    source: ModelProto, cut_at: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    """What makes `outputs` from the whole graph's inputs and from `cut_at`."""
    graph = source.graph
    stop = [value.name for value in cut_at]
    nodes = _before(list(graph.node), [value.name for value in outputs], stop)
    used = {name for node in nodes for name in node.input}
    inputs = [value for value in graph.input if value.name in used]
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    return _model(source, nodes, [*inputs, *cut_at], outputs, constants)


def _model(
    source: ModelProto,
    nodes: Iterable[NodeProto],
    inputs: Iterable[ValueInfoProto],
    outputs: Iterable[ValueInfoProto],
    constants: Iterable[TensorProto],
) -> ModelProto:
    graph = helper.make_graph(list(nodes), source.graph.name, list(inputs), list(outputs), list(constants))
    return helper.make_model(graph, opset_imports=source.opset_import, ir_version=source.ir_version)
