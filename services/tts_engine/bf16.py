"""A windowed decoder in bf16, by OpenVINO.

Only the decoder: it makes much of a small error in its input. Measured on Piper's medium voices, against
fp32: 25 dB with the flow in bf16, too, and with it in fp32 41 dB and more. The whole pipeline takes 25 % less
time.

OpenVINO keeps what it made for each length it has met, 6 MB each. So it gets the lengths of the windows' plan
only, each compiled for good, which is faster, too; what is left at an utterance's end is done in fp32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import openvino  # type: ignore[import-not-found,import-untyped,unused-ignore]  # an extra, ships no types
from onnx import ModelProto, numpy_helper

from tts_engine import carry
from tts_engine.graphs import like
from tts_engine.runtime import Session, Tensors

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


class Decoder:
    """Runs `model`, a windowed decoder over `window`; `exact` is the same one in fp32."""

    def __init__(self, model: ModelProto, window: str, exact: Session) -> None:
        self._window = window
        self._exact = exact
        self._compiled = _Compiled(model)
        self._outputs = [value.name for value in model.graph.output]

    def run(self, inputs: Tensors) -> list[npt.NDArray[Any]]:
        """One window; of an utterance's last one, pieces in bf16 and the end in fp32."""
        if not inputs[carry.LAST][0]:
            return self._compiled.run(inputs)
        if inputs[carry.FIRST][0]:
            return self._exact.run(inputs)
        frames, pieces, state = inputs[self._window], [], dict(inputs)
        for size in _pieces(frames.shape[2]):
            piece, frames = frames[:, :, :size], frames[:, :, size:]
            audio, *nexts = self._compiled.run({**state, self._window: piece, carry.LAST: _NO})
            pieces.append(audio)
            names = (name.removesuffix(carry.NEXT) for name in self._outputs[1:])
            state.update(zip(names, nexts, strict=True))
        audio, *nexts = self._exact.run({**state, self._window: frames})
        return [np.concatenate([*pieces, audio], axis=2), *nexts]


def _pieces(n_frames: int) -> list[int]:
    sizes = []
    for size in _PIECES:
        while n_frames >= size + _PIECES[-1]:
            sizes.append(size)
            n_frames -= size
    return sizes


class _Compiled:
    """Compiles at the first window of each shape (0.1 s), and once more for each run at the same time."""

    def __init__(self, graph: ModelProto) -> None:
        self._core = openvino.Core()
        self._graphs = {first: _in_the_middle(graph, first).SerializeToString() for first in (0, 1)}
        flags = {carry.FIRST, carry.LAST}
        self._inputs = [value.name for value in graph.graph.input if value.name not in flags]
        self._idle: dict[tuple[Any, ...], list[Any]] = {}

    def run(self, inputs: Tensors) -> list[npt.NDArray[Any]]:
        wanted = {name: np.ascontiguousarray(inputs[name]) for name in self._inputs}
        first = int(inputs[carry.FIRST][0])
        idle = self._idle.setdefault((first, *(array.shape for array in wanted.values())), [])
        try:
            request = idle.pop()
        except IndexError:
            request = self._compile(first, wanted).create_infer_request()
        results = request.infer(wanted, share_inputs=True, share_outputs=True)
        outputs = [np.array(array) for array in results.values()]
        idle.append(request)
        return outputs

    def _compile(self, first: int, inputs: Tensors) -> Any:
        model = self._core.read_model(self._graphs[first])
        model.reshape({name: array.shape for name, array in inputs.items()})
        return self._core.compile_model(model, "CPU", _CONFIG)


def _in_the_middle(model: ModelProto, first: int) -> ModelProto:
    """`model` for the first window, or for those after it, and not for the last one."""
    graph = model.graph
    flags = {carry.FIRST: first, carry.LAST: 0}
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in flags.items()]
    inputs = [value for value in graph.input if value.name not in flags]
    return like(model, graph.node, inputs, graph.output, constants)
