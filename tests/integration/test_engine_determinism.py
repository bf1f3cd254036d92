"""The same request gives the same samples: again, under load, in another process, from the middle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests.integration.engine_process import DEADLINE_S, Engine, running_engine, speech_stub

TEXT = (
    "However, the quick brown fox jumps over the lazy dog. It was never seen again; nobody knows why! "
    "In 1984 there were 12 of them, and two were called Fred."
)


def audio(stub: RivaSpeechSynthesisStub, text: str = TEXT, rate_hz: int = 0, **knobs: object) -> bytes:
    request = riva.SynthesizeSpeechRequest(
        text=text,
        sample_rate_hz=rate_hz,
        custom_configuration={"seed": "7", **{key: str(value) for key, value in knobs.items()}},
    )
    return b"".join(response.audio for response in stub.SynthesizeOnline(iter([request]), timeout=DEADLINE_S))


@pytest.fixture(scope="module")
def whole(stub: RivaSpeechSynthesisStub) -> bytes:
    return audio(stub)


def test_again_and_under_load(stub: RivaSpeechSynthesisStub, whole: bytes) -> None:
    with ThreadPoolExecutor(9) as pool:
        others = [pool.submit(audio, stub, TEXT, seed=n) for n in range(8)]
        assert audio(stub) == whole
    assert len({other.result() for other in others} | {whole}) == 8  # seed 7 is among them; seeds differ


def test_in_another_process_from_any_sample(stub: RivaSpeechSynthesisStub, whole: bytes) -> None:
    n_samples = len(whole) // 2
    with running_engine("--threads", "1") as another, speech_stub(another) as other:
        assert audio(other) == whole
        for start in (1, 255, 4096, n_samples // 3, n_samples // 2, n_samples - 100):
            assert audio(other, start_sample=start) == whole[2 * start :]
        assert audio(other, start_sample=n_samples) == audio(other, start_sample=10**12) == b""


def test_from_the_middle_at_another_rate(stub: RivaSpeechSynthesisStub) -> None:
    resampled = audio(stub, rate_hz=16000)
    for start in (1, 12345, len(resampled) // 4, len(resampled) // 2 - 50):
        assert audio(stub, rate_hz=16000, start_sample=start) == resampled[2 * start :]


def test_what_is_not_wanted_is_not_decoded(engine: Engine, stub: RivaSpeechSynthesisStub) -> None:
    made = 'tts_engine_audio_seconds_total{voice="en_US-joe-medium"}'
    text = "This is a sentence. " * 20
    audio(stub, text)
    before = engine.scrape()[made]
    whole = audio(stub, text)
    between = engine.scrape()[made]
    audio(stub, text, start_sample=len(whole) // 2 - 1000)
    assert engine.scrape()[made] - between < 0.2 * (between - before)
