"""Voices that come, change, break and go while the engine speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests import voices
from tests.integration.engine_process import DEADLINE_S, Engine, details, running_engine, speak, speech_stub

# Without noise, a text is as long each time.
SILENT = {"noise_scale": "0", "noise_w_scale": "0"}
SLOW = {**voices.config()["inference"], "length_scale": 2.0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All voices here are of one model: it is cut once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    voices.install(tmp_path, "joe")
    return tmp_path


@pytest.fixture
def engine(directory: Path, cache: Path) -> Iterator[Engine]:
    with running_engine("--default-voice", "joe", "--cache", str(cache), voices=directory) as running:
        yield running
        assert not any("Traceback" in line for line in running.log), running.log


@pytest.fixture
def stub(engine: Engine) -> Iterator[RivaSpeechSynthesisStub]:
    with speech_stub(engine) as connected:
        yield connected


def known(stub: RivaSpeechSynthesisStub) -> dict[str, str]:
    """Languages, by voice."""
    models = stub.GetRivaSynthesisConfig(riva.RivaSynthesisConfigRequest()).model_config
    return {model.model_name: model.parameters["language_code"] for model in models}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def audio_bytes(responses: list[riva.SynthesizeSpeechResponse]) -> int:
    return sum(len(response.audio) for response in responses)


def refusal(stub: RivaSpeechSynthesisStub, name: str) -> str:
    with pytest.raises(grpc.RpcError) as failed:
        speak(stub, ["Hello."], voice_name=name)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    return details(failed.value)


def test_a_voice_comes_and_goes(directory: Path, engine: Engine, stub: RivaSpeechSynthesisStub) -> None:
    assert "no such voice" in refusal(stub, "amy")
    voices.install(directory, "amy", language={"code": "en_GB"})
    until(lambda: known(stub) == {"joe": "en-US", "amy": "en-GB"})
    assert audio_bytes(speak(stub, ["Hello."], voice_name="amy")) > 0
    (directory / "amy.onnx").unlink()
    until(lambda: known(stub) == {"joe": "en-US"})
    assert "no such voice" in refusal(stub, "amy")


def test_a_corrupt_voice_is_refused_and_the_other_speaks_on(
    directory: Path, engine: Engine, stub: RivaSpeechSynthesisStub
) -> None:
    voices.install(directory, "amy")
    until(lambda: "amy" in known(stub))
    (directory / "SHA256SUMS").write_text(f"{'0' * 64}  amy.onnx\n")
    until(lambda: "amy" not in known(stub))
    assert "SHA-256" in refusal(stub, "amy")
    assert engine.scrape()["tts_engine_voices_refused"] == 1
    assert audio_bytes(speak(stub, ["Hello."])) > 0
    (directory / "SHA256SUMS").unlink()
    until(lambda: "amy" in known(stub))
    assert audio_bytes(speak(stub, ["Hello."], voice_name="amy")) > 0


def test_a_stream_keeps_the_voice_it_began_with(
    directory: Path, engine: Engine, stub: RivaSpeechSynthesisStub
) -> None:
    text = "This is said by one voice from its beginning to its end, whatever happens meanwhile. " * 20
    before = audio_bytes(speak(stub, [text], custom_configuration=SILENT))

    request = riva.SynthesizeSpeechRequest(text=text, custom_configuration=SILENT)
    stream = stub.SynthesizeOnline(iter([request]), timeout=DEADLINE_S)
    heard = [next(iter(stream))]
    (directory / "joe.onnx.json").unlink()
    (directory / "joe.onnx").unlink()
    voices.install(directory, "joe", language={"code": "en_GB"}, inference=SLOW)
    until(lambda: known(stub) == {"joe": "en-GB"})
    heard += stream
    assert audio_bytes(heard) == before
    after = audio_bytes(speak(stub, [text], custom_configuration=SILENT))
    assert 1.7 < after / before < 2.3
