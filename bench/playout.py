"""A player, simulated: when each sample is heard, and when there is nothing to hear."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """Silence before sample ``position``: the buffer was empty from ``start_s`` to ``end_s``."""

    position: int
    start_s: float
    end_s: float

    @property
    def duration_ms(self) -> float:
        """Length of the silence."""
        return (self.end_s - self.start_s) * 1000


@dataclass(frozen=True, slots=True)
class _Run:
    """Samples heard without a break: ``position`` is heard at ``start_s``."""

    position: int
    start_s: float


class Playout:
    """Plays what it receives at once, at ``rate_hz``, and waits where nothing is left.

    Times are any one clock's. It holds no audio back: a real player's jitter buffer would hide gaps that this
    one shows.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._runs: list[_Run] = []
        self._received = 0
        self.gaps: list[Gap] = []

    @property
    def received(self) -> int:
        """Samples received so far."""
        return self._received

    def receive(self, at_s: float, samples: int) -> None:
        """``samples`` more arrive at ``at_s``, which never decreases."""
        if not self._runs:
            self._runs.append(_Run(0, at_s))
        elif at_s > (empty_s := self.heard_at_s(self._received)):
            self.gaps.append(Gap(self._received, empty_s, at_s))
            self._runs.append(_Run(self._received, at_s))
        self._received += samples

    def heard_at_s(self, position: int) -> float:
        """When the sample ``position`` is heard; of the one just past the end, when the buffer runs empty.

        Raises ValueError before the first audio.
        """
        if not self._runs:
            raise ValueError("nothing was received yet")
        run = self._runs[max(0, bisect_right(self._runs, position, key=lambda run: run.position) - 1)]
        return run.start_s + (position - run.position) / self._rate_hz

    def played(self, now_s: float) -> int:
        """How many samples have been heard by ``now_s``; 0 before the first."""
        if not self._runs:
            return 0
        later = bisect_right(self._runs, now_s, key=lambda run: run.start_s)
        run = self._runs[max(0, later - 1)]
        end = self._runs[later].position if 0 < later < len(self._runs) else self._received
        return max(0, min(end, run.position + int((now_s - run.start_s) * self._rate_hz)))
