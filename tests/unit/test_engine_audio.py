import numpy as np
import pytest
from tts_engine.audio import CHUNK_MS, Resampler, Samples, chunks, pcm16

RATE_HZ = 22050


def tone(seconds: float, hz: float = 440.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def resampled(samples: Samples, rate_hz: int, piece: int) -> Samples:
    resampler = Resampler(RATE_HZ, rate_hz)
    pieces = [resampler.push(samples[i : i + piece]) for i in range(0, len(samples), piece)]
    return np.concatenate([*pieces, resampler.finish()])


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 44100, 48000])
def test_resampling_keeps_length_pitch_and_loudness(rate_hz: int) -> None:
    samples = resampled(tone(1.0), rate_hz, 4096)
    assert abs(len(samples) - rate_hz) <= 1
    assert np.argmax(np.abs(np.fft.rfft(samples))) == pytest.approx(440, abs=1)
    assert np.std(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_resampling_does_not_depend_on_the_pieces() -> None:
    assert np.array_equal(resampled(tone(1.0), 16000, 1000), resampled(tone(1.0), 16000, 7777))


def test_the_voices_own_rate_passes_untouched() -> None:
    assert np.array_equal(resampled(tone(0.5), RATE_HZ, 1000), tone(0.5))


def test_pcm_is_clipped_not_wrapped() -> None:
    pcm = np.frombuffer(pcm16(np.array([0, 1, -1, 7, -7], np.float32)), "<i2")
    assert pcm.tolist() == [0, 32767, -32767, 32767, -32767]


def test_chunks_joined_are_the_audio() -> None:
    pcm = pcm16(tone(1.05))
    pieces = list(chunks(pcm, RATE_HZ))
    assert b"".join(pieces) == pcm
    assert max(map(len, pieces)) == RATE_HZ * CHUNK_MS // 1000 * 2
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert list(chunks(b"", RATE_HZ)) == []
