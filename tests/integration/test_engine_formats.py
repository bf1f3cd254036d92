"""Every encoding at its rates, decoded by another's decoder."""

from __future__ import annotations

import numpy as np
import pytest
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests.integration.decoding import Floats, decoded
from tests.integration.engine_process import DEADLINE_S

TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps. Good night!"


def responses(
    stub: RivaSpeechSynthesisStub, rate_hz: int, encoding: str = "LINEAR_PCM", **knobs: str
) -> list[riva.SynthesizeSpeechResponse]:
    request = riva.SynthesizeSpeechRequest(
        text=TEXT,
        sample_rate_hz=rate_hz,
        encoding=encoding,
        custom_configuration=knobs,
    )
    return list(stub.SynthesizeOnline(iter([request]), timeout=DEADLINE_S))


def joined(parts: list[riva.SynthesizeSpeechResponse]) -> bytes:
    return b"".join(part.audio for part in parts)


def exact(stub: RivaSpeechSynthesisStub, rate_hz: int) -> Floats:
    floats = np.frombuffer(joined(responses(stub, rate_hz, sample_format="f32")), "<f4")
    return floats.astype(np.float64)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 48000])
def test_sixteen_bits(stub: RivaSpeechSynthesisStub, rate_hz: int) -> None:
    expected = exact(stub, rate_hz)
    samples = np.frombuffer(joined(responses(stub, rate_hz)), "<i2") / 32767
    assert len(samples) == len(expected)
    assert np.max(np.abs(samples - expected)) <= 0.51 / 32767


@pytest.mark.parametrize("rate_hz", [8000, 22050])
@pytest.mark.parametrize(("encoding", "container"), [("MULAW", "mulaw"), ("ALAW", "alaw")])
def test_telephone_codecs(stub: RivaSpeechSynthesisStub, encoding: str, container: str, rate_hz: int) -> None:
    expected = exact(stub, rate_hz)
    samples = decoded(joined(responses(stub, rate_hz, encoding)), container, rate_hz)
    assert len(samples) == len(expected)
    noise = np.sum((samples - expected) ** 2)
    assert 10 * np.log10(np.sum(expected**2) / noise) > 30  # G.711 has 35 dB on speech


@pytest.mark.parametrize("rate_hz", [16000, 22050, 48000])
def test_opus(stub: RivaSpeechSynthesisStub, rate_hz: int) -> None:
    parts = responses(stub, rate_hz, "OGGOPUS")
    expected = exact(stub, 48000)
    samples = decoded(joined(parts), "ogg", 48000)
    assert abs(len(samples) - len(expected)) <= 48000 // 1000
    shared = min(len(samples), len(expected))
    assert np.corrcoef(samples[:shared], expected[:shared])[0, 1] > 0.9
    assert sum(bool(part.audio) for part in parts) > 10  # as it is made, not at the end
    assert len(joined(parts)) < len(expected) * 2 / 10


def test_audio_comes_window_by_window(stub: RivaSpeechSynthesisStub) -> None:
    sizes = [len(part.audio) for part in responses(stub, 8000)]
    assert sizes[0] < 0.2 * 2 * 8000
    assert max(sizes) < 0.9 * 2 * 8000
