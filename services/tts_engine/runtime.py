"""What runs a graph: onnxruntime in fp32, or OpenVINO in bf16 where the operator chose it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from onnx import ModelProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # type: ignore[import-untyped]

from tts_engine import cut, subpixel
from tts_engine.errors import StartError

# onnxruntime's exceptions have no common base; these are what a broken or foreign model raises.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotFound,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

Tensors = Mapping[str, npt.NDArray[Any]]


class Precision(Enum):
    FP32 = "fp32"
    BF16 = "bf16"


class Provider(Enum):
    CPU = "cpu"
    CUDA = "cuda"


_ORT_PROVIDERS = {Provider.CPU: "CPUExecutionProvider", Provider.CUDA: "CUDAExecutionProvider"}


class Session(Protocol):
    """A graph that is ready to run. Thread-safe; a run uses its caller's thread only."""

    def run(self, inputs: Tensors) -> list[npt.NDArray[Any]]:
        """The outputs, in the graph's order; inputs the graph does not have are ignored."""
        ...


@dataclass(frozen=True)
class Runtime:
    precision: Precision = Precision.FP32
    provider: Provider = Provider.CPU

    def check(self) -> None:
        """Raises StartError where this host cannot do it."""
        if self.precision is Precision.BF16:
            self._check_bf16()
        provider = _ORT_PROVIDERS[self.provider]
        if provider not in onnxruntime.get_available_providers():
            raise StartError(
                f"--provider (TTS_ENGINE_PROVIDER) is {self.provider.value!r}, but the installed onnxruntime "
                f"has no {provider}. Install onnxruntime-gpu in place of onnxruntime, or set it to 'cpu'"
            )

    def _check_bf16(self) -> None:
        if not _bf16().has_bf16():
            raise StartError(
                "--precision (TTS_ENGINE_PRECISION) is 'bf16', but this CPU does not compute in it (one with "
                "AVX512-BF16 does). Set it to 'fp32'"
            )

    def session(self, model: bytes | Path) -> Session:
        """In fp32, whatever the precision: durations are rounded, and in bf16 they round to others."""
        return _OrtSession(model, self.provider)

    def decoder(self, model: Path) -> Session:
        """In the wanted precision."""
        if self.precision is Precision.FP32:
            return self.session(model)
        session: Session = _bf16().Decoder(onnx.load_model(model), cut.FRAMES, self.session(model))
        return session

    def optimise(self, graph: ModelProto, file: Path) -> None:
        """Write `graph` as it is after the optimisations that take most of the time of loading it."""
        options = _options()
        options.optimized_model_filepath = str(file)
        content = subpixel.subpixel(graph).SerializeToString()
        onnxruntime.InferenceSession(content, options, [_ORT_PROVIDERS[self.provider]])


class _OrtSession:
    def __init__(self, model: bytes | Path, provider: Provider) -> None:
        source = str(model) if isinstance(model, Path) else model
        self._session = onnxruntime.InferenceSession(source, _options(), [_ORT_PROVIDERS[provider]])
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, inputs: Tensors) -> list[npt.NDArray[Any]]:
        outputs: list[npt.NDArray[Any]] = self._session.run(
            None, {name: inputs[name] for name in self._inputs}
        )
        return outputs


def _options() -> onnxruntime.SessionOptions:
    """Each run on its caller's thread: parallelism is over windows, and no thread spins while it waits.

    Measured on Piper's medium voices: spinning threads cost 1.4 times the CPU; the memory arena and memory
    patterns change no time, and keep the memory of the longest window.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    # The highest level's graphs fit one CPU only, and a cache may move to another.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    return options


def _bf16() -> ModuleType:
    try:
        from tts_engine import bf16
    except ImportError:
        raise StartError(
            "--precision (TTS_ENGINE_PRECISION) is 'bf16', which needs OpenVINO. "
            "Install the extra sglang-piper[openvino], or set it to 'fp32'"
        ) from None
    return bf16
