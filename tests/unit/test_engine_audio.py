import numpy as np
import pytest
from tts_engine.audio import Resampler, Samples, pcm16, resampled_length

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


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 31337, 48000])
@pytest.mark.parametrize("n_samples", [0, 1, 2, 255, 4096, 12345])
def test_the_length_is_known_before(n_samples: int, rate_hz: int) -> None:
    samples = np.zeros(n_samples, np.float32)
    assert len(resampled(samples, rate_hz, 1000)) == resampled_length(n_samples, RATE_HZ, rate_hz)


def test_the_voices_own_rate_passes_untouched() -> None:
    assert np.array_equal(resampled(tone(0.5), RATE_HZ, 1000), tone(0.5))


def test_pcm_is_clipped_not_wrapped() -> None:
    pcm = np.frombuffer(pcm16(np.array([0, 1, -1, 7, -7], np.float32)), "<i2")
    assert pcm.tolist() == [0, 32767, -32767, 32767, -32767]
