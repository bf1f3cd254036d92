"""How far ahead of the listener audio may be sent. Pure: the time is an argument."""

from __future__ import annotations


class Credit:
    """At most ``ahead_ms`` beyond the last ``ack``; without any, beyond a listener who plays in real time.

    Positions are samples at ``sample_rate`` Hz, times are seconds of any monotonic clock.
    """

    def __init__(self, sample_rate: int, ahead_ms: int) -> None:
        self.sent = 0
        self._sample_rate = sample_rate
        self._ahead = ahead_ms * sample_rate // 1000
        self._played = 0.0
        self._acknowledged = False
        self._updated_s: float | None = None

    def room(self, now_s: float) -> int:
        """How many samples may be sent now."""
        self._play(now_s)
        return max(0, int(self._played) + self._ahead - self.sent)

    def opens_at(self, samples: int, now_s: float) -> float | None:
        """When there is room for that many samples; None if only an ack can tell."""
        missing = samples - self.room(now_s)
        if missing <= 0:
            return now_s
        # One more than missing: room() rounds down.
        return None if self._acknowledged else now_s + (missing + 1) / self._sample_rate

    def spend(self, samples: int, now_s: float) -> None:
        self._play(now_s)
        self.sent += samples

    def acknowledge(self, sample: int) -> None:
        """Played, or stored, up to here. An ack older than the last changes nothing."""
        self._acknowledged = True
        self._played = max(self._played, float(sample)) if sample <= self.sent else self._played

    def skip_to_sent(self) -> None:
        """The listener has dropped what was not played yet."""
        self._played = float(self.sent)

    def _play(self, now_s: float) -> None:
        """Without acks: a listener who plays what has come, in real time, and waits when nothing has."""
        if not self._acknowledged and self._updated_s is not None:
            elapsed_s = max(0.0, now_s - self._updated_s)
            self._played = min(float(self.sent), self._played + elapsed_s * self._sample_rate)
        self._updated_s = now_s
