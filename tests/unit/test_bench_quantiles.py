"""Quantiles are right, and silent where the sample cannot carry them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.quantiles import LEVELS, minimum_n, summarise


def test_the_sample_each_quantile_needs() -> None:
    assert {name: minimum_n(LEVELS[name]) for name in ("p90", "p95", "p99")} == {
        "p90": 64,
        "p95": 130,
        "p99": 662,
    }


@pytest.mark.parametrize("name", ["p90", "p95", "p99"])
def test_the_needed_sample_is_the_smallest_with_two_values_beyond(name: str) -> None:
    level = LEVELS[name]

    def fewer_than_two_beyond(n: int) -> float:
        return sum(math.comb(n, k) * (1 - level) ** k * level ** (n - k) for k in (0, 1))

    assert fewer_than_two_beyond(minimum_n(level)) <= 0.01 < fewer_than_two_beyond(minimum_n(level) - 1)


@pytest.mark.parametrize(
    ("n", "told"), [(1, {"p50"}), (63, {"p50"}), (64, {"p50", "p90"}), (662, set(LEVELS))]
)
def test_told_are_only_supported_quantiles(n: int, told: set[str]) -> None:
    summary = summarise(float(value) for value in range(n))
    assert {name for name in LEVELS if getattr(summary, name) is not None} == told
    assert summary.unsupported.keys() == LEVELS.keys() - told


def test_nothing_is_told_of_nothing() -> None:
    summary = summarise([])
    assert (summary.n, summary.mean, summary.p50, summary.max) == (0, None, None, None)
    assert summary.unsupported["p50"] == "no values"


def test_known_values() -> None:
    summary = summarise(float(value) for value in range(1001))
    assert (summary.mean, summary.min, summary.max) == (500.0, 0.0, 1000.0)
    assert (summary.p50, summary.p90, summary.p95, summary.p99) == (500.0, 900.0, 950.0, 990.0)


@given(seed=st.integers(min_value=0, max_value=2**32), n=st.integers(min_value=662, max_value=2000))
def test_quantiles_are_ordered_and_within_the_sample(seed: int, n: int) -> None:
    summary = summarise(np.random.default_rng(seed).lognormal(size=n))
    told = [summary.min, summary.p50, summary.p90, summary.p95, summary.p99, summary.max]
    values = [value for value in told if value is not None]
    assert len(values) == len(told)
    assert values == sorted(values)
