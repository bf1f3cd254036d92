"""Samples from the voice's rate to the client's, and into bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped]  # ships no types

Samples = npt.NDArray[np.float32]
"""Mono audio, `(n_samples,) float32` in [-1, 1]."""

SILENCE: Samples = np.zeros(0, np.float32)


def resampled_length(n_samples: int, source_hz: int, target_hz: int) -> int:
    """How many samples a Resampler makes of `n_samples`, to its end."""
    return (2 * n_samples * target_hz + source_hz) // (2 * source_hz)


class Resampler:
    """A continuous stream from `source_hz` to `target_hz`; equal rates pass through untouched.

    Between different rates the filter holds back the last 41–81 ms of its input until more comes or
    `finish` is called; the total length is exact.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self._stream = (
            None if source_hz == target_hz else soxr.ResampleStream(source_hz, target_hz, 1, "float32")
        )

    def push(self, samples: Samples) -> Samples:
        return self._resampled(samples, last=False)

    def finish(self) -> Samples:
        """What the filter still held. Nothing may be pushed after it."""
        return self._resampled(SILENCE, last=True)

    def _resampled(self, samples: Samples, *, last: bool) -> Samples:
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples, last=last)
        return resampled


def pcm16(samples: Samples) -> bytes:
    """16-bit little-endian PCM, clipped; no gain, so that loudness never jumps between sentences."""
    scaled = np.clip(samples, -1.0, 1.0) * np.float32(32767)
    pcm: npt.NDArray[np.int16] = np.rint(scaled).astype("<i2")
    return pcm.tobytes()
