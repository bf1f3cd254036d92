"""The arithmetic of the comparison: samples in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

# Where not a bit differs the ratio has no end. Two roundings of one 32-bit float are 150 dB apart.
IDENTICAL_DB = 200.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A sample's plain quantiles: p95 is the sample's own, however small ``n`` is."""

    n: int
    p50: float
    p95: float
    min: float
    max: float


def spread(values: Iterable[float]) -> Spread | None:
    """None for no values."""
    sample = np.fromiter(values, dtype=np.float64)
    if not sample.size:
        return None
    p50, p95 = (round(float(np.quantile(sample, level)), 4) for level in (0.50, 0.95))
    return Spread(int(sample.size), p50, p95, round(float(sample.min()), 4), round(float(sample.max()), 4))


def ratio(above: float | None, below: float | None) -> float | None:
    """``above / below``, or None where either is missing or ``below`` is nothing."""
    return round(above / below, 4) if above is not None and below else None


@dataclass(frozen=True, slots=True)
class Rate:
    """So many seconds of audio in so many of wall-clock time, and of CPU where that is known."""

    audio_s: float
    wall_s: float
    cpu_s: float | None = None

    @property
    def per_s(self) -> float:
        """Audio seconds per second."""
        return self.audio_s / self.wall_s


@dataclass(frozen=True, slots=True)
class RatePair:
    """The engine's rate, and that of onnxruntime alone right after or before it with the same texts."""

    ours: Rate
    alone: Rate

    @property
    def ratio(self) -> float:
        return self.ours.per_s / self.alone.per_s


def cpu_per_audio(rates: Iterable[Rate]) -> float | None:
    """CPU seconds per second of audio, over all of ``rates``; None where one does not tell, or for none."""
    known = [(rate.cpu_s, rate.audio_s) for rate in rates]
    cpu = [cpu_s for cpu_s, _ in known if cpu_s is not None]
    return ratio(sum(cpu), sum(audio_s for _, audio_s in known)) if len(cpu) == len(known) else None


def median_ratio(pairs: Sequence[RatePair]) -> float | None:
    """The median of the pairs' ratios, or None for no pair."""
    return round(median(pair.ratio for pair in pairs), 4) if pairs else None


def snr_db(reference: npt.NDArray[np.float32], ours: npt.NDArray[np.float32]) -> float:
    """10 log10(sum ref² / sum (ref − ours)²) of two ``(n_samples,)``; at most IDENTICAL_DB.

    The shorter one counts as silent beyond its end: what is missing or too much is noise.
    """
    length = max(len(reference), len(ours))
    wide = [np.pad(samples.astype(np.float64), (0, length - len(samples))) for samples in (reference, ours)]
    signal, noise = float(np.sum(wide[0] ** 2)), float(np.sum((wide[0] - wide[1]) ** 2))
    if not noise:
        return IDENTICAL_DB
    if not signal:
        return -IDENTICAL_DB
    return round(min(10 * math.log10(signal / noise), IDENTICAL_DB), 2)
