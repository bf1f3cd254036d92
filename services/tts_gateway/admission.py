"""How many sessions there may be: per consumer and on this host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tts_gateway.errors import Busy

RETRY_AFTER_MS = 2000


class Admission:
    def __init__(self, max_sessions: int, max_per_consumer: int) -> None:
        self._max_sessions = max_sessions
        self._max_per_consumer = max_per_consumer
        self._held: Counter[str] = Counter()

    @property
    def sessions(self) -> int:
        return self._held.total()

    @contextmanager
    def slot(self, consumer: str) -> Iterator[None]:
        """Hold a place for one session. Raises Busy where none is free."""
        if self.sessions >= self._max_sessions:
            raise Busy(
                f"This host serves {self._max_sessions} sessions at a time; all are taken: try again later.",
                retry_after_ms=RETRY_AFTER_MS,
            )
        if self._held[consumer] >= self._max_per_consumer:
            raise Busy(
                f"One consumer may have {self._max_per_consumer} sessions at a time: end one first.",
                retry_after_ms=RETRY_AFTER_MS,
            )
        self._held[consumer] += 1
        try:
            yield
        finally:
            self._held[consumer] -= 1
            self._held += Counter()  # forget consumers that hold nothing
