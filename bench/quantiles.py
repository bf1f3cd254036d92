"""Quantiles, told only where the sample supports them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

CONFIDENCE = 0.99
DEFINITION = (
    "told where two values lie beyond them with 99 % confidence: p90 from n = 64, p95 from 130, p99 from 662"
)
LEVELS = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


@cache
def minimum_n(level: float) -> int:
    """The smallest sample that supports the quantile ``level``: 64 for p90, 130 for p95, 662 for p99.

    From here on at least two values lie beyond the true quantile with 99 % confidence, so that the estimate
    is not the one worst value under another name: q**n + n (1 - q) q**(n - 1) <= 0.01, the chance of fewer.
    """
    n = 2
    while level**n + n * (1 - level) * level ** (n - 1) > 1 - CONFIDENCE:
        n += 1
    return n


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric over a run, in the metric's own unit; ``None`` where ``unsupported`` says why."""

    n: int
    mean: float | None = None
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    unsupported: dict[str, str] = field(default_factory=dict)


def unsupported_reason(name: str, n: int) -> str | None:
    """Why the quantile ``name`` of ``n`` values is not told, or None where it is. The median always is."""
    if n == 0:
        return "no values"
    needed = 1 if name == "p50" else minimum_n(LEVELS[name])
    return None if n >= needed else f"n = {n}, needs {needed}"


def summarise(values: Iterable[float]) -> Summary:
    """Mean, extremes and the supported quantiles (exact, interpolated linearly) of ``values``."""
    sample = np.fromiter(values, dtype=np.float64)
    n = int(sample.size)
    reasons = {name: reason for name in LEVELS if (reason := unsupported_reason(name, n)) is not None}
    if n == 0:
        return Summary(n=0, unsupported=reasons)
    told = {name: _rounded(np.quantile(sample, q)) for name, q in LEVELS.items() if name not in reasons}
    return Summary(
        n=n,
        mean=_rounded(sample.mean()),
        min=_rounded(sample.min()),
        max=_rounded(sample.max()),
        unsupported=reasons,
        **told,
    )


def _rounded(value: np.floating) -> float:
    # Microseconds of a millisecond: below what any clock here resolves, above what a reader wants to see.
    return round(float(value), 3)
