"""Who may speak now: as many streams as this host can serve without one of them running dry.

Earliest deadline first serves every stream in time while the work fits, and every stream late once it does
not. So a stream is let in only where the work of all of them, with its own, fits: for each horizon t, what
must be ready by then takes no longer than the threads have until then (the processor demand test; Baruah,
Rosier and Howell 1990). What a second of audio costs here is measured all the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tts_engine.errors import Overloaded
from tts_engine.playback import Playback

HORIZONS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# What is planned with; the rest is for I/O, and for a host that is slower in the next second than now.
HEADROOM = 0.7
# A consumer that gives its name may take this much of the host, so that there is room for another one.
CONSUMER_SHARE = 0.85
# How long the listener of a new stream may wait for the first sound. Lower, and streams are refused that a
# second later could be served; higher, and the first sound comes late for all of them.
FIRST_SOUND_S = 0.5
# An open stream brings more text: of each second, this much is speech. 5 characters/s are typed or generated,
# and spoken in 0.28 s.
MORE_TEXT_RATE = 0.28

# Until it is measured: a slow core, and English.
FIRST_COST_GUESS = 0.1
AUDIO_PER_CHAR_GUESS_S = 0.06
# Weight of the newest measurement: about the last forty windows count.
MEAN_WEIGHT = 0.05

# The hint for a caller turned away: sooner than the first only adds load, later than the second keeps the
# caller from a host that is free again.
MIN_RETRY_AFTER_MS = 100
MAX_RETRY_AFTER_MS = 10_000


@dataclass
class Stream:
    """One RPC that speaks. `chars_left`: known text that is not synthesized; `is_open`: more may come."""

    playback: Playback
    chars_left: int
    is_open: bool
    consumer: str | None = None
    audio_left_s: float = 0.0  # of utterances whose durations are known already


class Admission:
    """Streams that speak, and whether one more fits. Of one thread: the event loop's."""

    def __init__(self, threads: int, max_streams: int) -> None:
        self._threads = threads
        self._max_streams = max_streams
        self._streams: dict[int, Stream] = {}
        self.cost = FIRST_COST_GUESS  # seconds of a thread per second of audio
        self._audio_per_char_s = AUDIO_PER_CHAR_GUESS_S

    @property
    def capacity(self) -> float:
        """Seconds of audio per second that this host makes."""
        return self._threads / self.cost

    @property
    def n_streams(self) -> int:
        return len(self._streams)

    def observe_cost(self, work_s: float, audio_s: float) -> None:
        """A whole utterance was made."""
        if audio_s > 0:
            weight = min(1.0, MEAN_WEIGHT * audio_s)
            self.cost += weight * (work_s / audio_s - self.cost)

    def observe_text(self, n_chars: int, audio_s: float) -> None:
        if n_chars and audio_s:
            self._audio_per_char_s += MEAN_WEIGHT * (audio_s / n_chars - self._audio_per_char_s)

    @contextmanager
    def place(self, stream: Stream, now_s: float) -> Iterator[None]:
        """Hold a place for `stream` until it ends. Raises Overloaded where it does not fit."""
        self._check(stream, now_s)
        self._streams[id(stream)] = stream
        try:
            yield
        finally:
            del self._streams[id(stream)]

    def _check(self, stream: Stream, now_s: float) -> None:
        others = list(self._streams.values())
        if not others:  # a host too slow for one stream serves it late, and learns its speed again by it
            return
        if len(others) >= self._max_streams or not self._fits([*others, stream], HEADROOM, now_s):
            raise Overloaded(len(others), self._retry_after_ms(others))
        if stream.consumer is None:
            return
        own = [other for other in others if other.consumer == stream.consumer]
        if own and not self._fits([*own, stream], HEADROOM * CONSUMER_SHARE, now_s):
            raise Overloaded(len(own), self._retry_after_ms(own), of_consumer=True)

    def _fits(self, streams: Collection[Stream], share: float, now_s: float) -> bool:
        return all(
            self.cost * sum(self._due_s(stream, horizon_s, now_s) for stream in streams)
            <= self._threads * share * horizon_s
            for horizon_s in HORIZONS_S
        )

    def _due_s(self, stream: Stream, horizon_s: float, now_s: float) -> float:
        """Seconds of audio that must be made for `stream` before `horizon_s` from now."""
        playback = stream.playback
        slack_s = playback.in_hand_s(now_s) if playback.is_playing else FIRST_SOUND_S
        playing_s = horizon_s - slack_s
        left_s = self._left_s(stream) + (MORE_TEXT_RATE * horizon_s if stream.is_open else 0.0)
        return max(0.0, min(playing_s, left_s))

    def _left_s(self, stream: Stream) -> float:
        return stream.audio_left_s + stream.chars_left * self._audio_per_char_s

    def _retry_after_ms(self, streams: Collection[Stream]) -> int:
        """When half of what is known to be left is made: then there is room for some."""
        work_s = self.cost * sum(map(self._left_s, streams)) / self._threads / 2
        return round(min(max(work_s * 1000, MIN_RETRY_AFTER_MS), MAX_RETRY_AFTER_MS))
