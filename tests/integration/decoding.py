"""Audio as others decode it: by ffmpeg."""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def decoded(content: bytes, container: str, rate_hz: int) -> Floats:
    """By ffmpeg, resampled to `rate_hz`."""
    options = {} if container == "ogg" else {"sample_rate": str(rate_hz), "ch_layout": "mono"}
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    with av.open(io.BytesIO(content), "r", format=container, options=options) as file:
        frames = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.float64)
