"""What is measured, how often, and for how long: by the clock, so that a slow machine does less of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The length and the number of callers that the headline numbers are about.
HEADLINE_CHARACTERS = 60
HEADLINE_CONCURRENCY = 8

THROUGHPUT_CONCURRENCY = 8

# Fewer, and one disturbed request in the wrong place decides the median.
IDLE_LEAST = 7


@dataclass(frozen=True, slots=True)
class Load:
    """So many callers at a time, each asking again once it has its audio, in ``rounds`` of both servers.

    ``weight`` is its part of the time that is left for all loads and the throughput.
    """

    characters: int
    concurrency: int
    rounds: int
    weight: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One kind of run.

    ``measured_s`` is when measuring ends, counted from the start of the command. ``exactness_texts`` of each
    length are compared sample by sample. ``idle`` are repeats by length, the headline's first, as many as fit
    into ``idle_s``, but IDLE_LEAST of the headline. The headline's load is the first of ``loads``.
    """

    measured_s: float
    exactness_texts: int
    idle: Mapping[int, int]
    idle_s: float
    loads: tuple[Load, ...]
    throughput_rounds: int
    throughput_weight: float


# Ends within 55 s on two slow cores; a quiet machine uses the same time for more requests.
QUICK = Plan(
    measured_s=42.0,
    exactness_texts=1,
    idle={60: 13, 5: 3, 20: 3, 200: 3},
    idle_s=9.0,
    loads=(Load(60, 8, rounds=2, weight=5),),
    throughput_rounds=3,
    throughput_weight=5,
)

# Below 6 minutes.
FULL = Plan(
    measured_s=300.0,
    exactness_texts=3,
    idle={60: 31, 5: 21, 20: 21, 200: 15},
    idle_s=70.0,
    loads=(
        Load(60, 8, rounds=4, weight=5),
        Load(60, 32, rounds=2, weight=4),
        Load(5, 8, rounds=2, weight=1.5),
        Load(5, 32, rounds=2, weight=1.5),
        Load(20, 8, rounds=2, weight=2),
        Load(20, 32, rounds=2, weight=2),
        Load(200, 8, rounds=2, weight=4),
        Load(200, 32, rounds=1, weight=4),
    ),
    throughput_rounds=7,
    throughput_weight=6,
)


def block_s(left_s: float, weight: float, weights_left: float, blocks: int) -> float:
    """Seconds of one of ``blocks`` equal blocks of a part that weighs ``weight`` of all that is still to do.

    What an earlier part took too long is thereby taken from all later ones alike. Never below 0.
    """
    return max(0.0, left_s) * weight / weights_left / blocks


def requests_in(seconds: float, rate_per_s: float, audio_s: float, concurrency: int) -> int:
    """Requests of ``audio_s`` that a server of ``rate_per_s`` (audio s/s) speaks in ``seconds``.

    Never fewer than there are callers.
    """
    return max(concurrency, int(seconds * rate_per_s / audio_s))
