"""When a stream's listener runs out of audio. Times are seconds of a monotonic clock, given by the caller."""

from __future__ import annotations


class Playback:
    """Audio that was handed over is played from its first sample on, without a pause while there is more."""

    def __init__(self, now_s: float) -> None:
        self._ends_s = now_s
        self._is_playing = False  # there was audio, and text since then without a pause

    def expect(self, now_s: float) -> None:
        """There is something to say again. After a silence it is as urgent as the first word."""
        if self._ends_s < now_s:
            self._ends_s = now_s
            self._is_playing = False

    @property
    def is_playing(self) -> bool:
        return self._is_playing

    @property
    def deadline_s(self) -> float:
        """When the next audio must be there; while nothing plays, when it was asked for."""
        return self._ends_s

    def in_hand_s(self, now_s: float) -> float:
        """Seconds of audio that the listener has not heard yet."""
        return max(0.0, self._ends_s - now_s) if self._is_playing else 0.0

    def add(self, seconds: float, now_s: float) -> float:
        """Audio was handed over. Returns by how many seconds it came too late for a listener who played."""
        late_s = max(0.0, now_s - self._ends_s) if self._is_playing else 0.0
        self._ends_s = max(self._ends_s, now_s) + seconds
        self._is_playing = True
        return late_s
