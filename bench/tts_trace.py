"""What happened in one speech session, and what it means. No clock and no socket in here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench import speakable
from bench.errors import RequestFailed
from bench.playout import Gap, Playout
from bench.tts_protocol import Alignment, Done, Flushed, Frame

# Speech is between 5 and 30 letters a second in any language here; four times that is an error, not a style.
MIN_SECONDS_PER_CHAR = 0.008
MAX_SECONDS_PER_CHAR = 0.8

# A person hears sound from about here on, full scale being 1.
AUDIBLE_RMS = 0.01
_RMS_WINDOW_S = 0.010


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame: when it came, what it says it is, what it should be, how much it holds (samples)."""

    at_s: float
    position: int
    expected: int
    samples: int


@dataclass(slots=True)
class SessionTrace:
    """Everything seen in a session, in order; times are ``time.perf_counter`` seconds."""

    text: str = ""
    sent_at_s: list[float] = field(default_factory=list)
    utterance_ends: list[int] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    alignments: list[tuple[float, Alignment]] = field(default_factory=list)
    flushed: list[Flushed] = field(default_factory=list)
    done: Done | None = None
    rate_hz: int = 0
    audio: bytearray = field(default_factory=bytearray)
    playout: Playout = field(default_factory=lambda: Playout(1))
    failures: list[RequestFailed] = field(default_factory=list)

    def open(self, rate_hz: int) -> None:
        """The session runs, at ``rate_hz``."""
        self.rate_hz = rate_hz
        self.playout = Playout(rate_hz)

    def typed(self, at_s: float, char: str) -> None:
        """One character went out."""
        self.text += char
        self.sent_at_s.append(at_s)

    def flushed_here(self) -> None:
        """The utterance is over: all text so far is committed, by the flush sent with its last character."""
        self.utterance_ends.append(len(self.text))

    def heard(self, at_s: float, frame: Frame) -> None:
        """A frame came."""
        self.arrivals.append(Arrival(at_s, frame.position, self.playout.received, frame.samples))
        self.playout.receive(at_s, frame.samples)
        self.audio += frame.audio

    @property
    def audio_s(self) -> float:
        """Seconds of audio received."""
        return self.playout.received / self.rate_hz if self.rate_hz else 0.0

    # --- latencies

    def commits(self) -> list[list[int]]:
        """Of every utterance, the text offsets at which its pieces became speakable."""
        starts = [0, *self.utterance_ends]
        spans = zip(starts, self.utterance_ends, strict=False)
        return [[start + end for end in speakable.ends(self.text[start:stop])] for start, stop in spans]

    def ttfa(self) -> Iterator[tuple[float, float | None]]:
        """Of every utterance, in s: commit → first frame; the same plus leading silence (None if all silent).

        The commit is the sending of the character that completes the utterance's first speakable piece. The
        iteration ends where an utterance's audio cannot be told from the next one's, for want of ``flushed``.
        """
        start_sample = 0
        for commits in self.commits():
            first = next((a for a in self.arrivals if a.expected + a.samples > start_sample), None)
            if first is None:
                return
            commit_s = self.sent_at_s[commits[0] - 1]
            end_sample = self._flushed_at(commits[-1])
            ttfa_s, silence_s = first.at_s - commit_s, self._leading_silence_s(start_sample, end_sample)
            yield ttfa_s, None if silence_s is None else ttfa_s + silence_s
            if end_sample is None:
                return
            start_sample = end_sample

    def _flushed_at(self, text_end: int) -> int | None:
        return next((f.samples for f in self.flushed if f.text_offset >= text_end), None)

    def _leading_silence_s(self, start: int, end: int | None) -> float | None:
        stop = self.playout.received if end is None else min(end, self.playout.received)
        audible = first_audible(np.frombuffer(self.audio, dtype="<i2")[start:stop], self.rate_hz)
        return None if audible is None else audible / self.rate_hz

    def char_lags_s(self) -> Iterator[float]:
        """Of every letter and digit with an alignment: its sending → its sound, as the player plays it."""
        for _, alignment in self.alignments:
            offset = alignment.text_offset
            for unit, sample in zip(alignment.units, alignment.start_samples, strict=True):
                known = offset < len(self.sent_at_s) and sample < self.playout.received
                if known and unit[:1].isalnum():
                    yield self.playout.heard_at_s(sample) - self.sent_at_s[offset]
                offset += len(unit)

    def frame_gaps_s(self) -> Iterator[float]:
        """Of every frame that was owed when the one before came: how much later than real time it came.

        That is the time since the frame before, less that frame's own duration. Where more text was committed
        in between, the wait may have been for that text, and is left out.
        """
        commit_times = self._commit_times()
        for before, frame in pairwise(self.arrivals):
            if not _any_within(commit_times, before.at_s, frame.at_s):
                yield frame.at_s - before.at_s - before.samples / self.rate_hz

    def _commit_times(self) -> list[float]:
        return [self.sent_at_s[end - 1] for utterance in self.commits() for end in utterance]

    # --- silences

    def stalls(self) -> list[Gap]:
        """Gaps that are the server's: committed text was unspoken when the buffer ran empty.

        Without alignment nobody tells how far the audio is in the text. Then only a gap in which no text
        was committed is surely the server's: the audio that ends it is of text it had all along.
        """
        return [gap for gap in self.playout.gaps if self._pending_at(gap)]

    def starvations(self) -> list[Gap]:
        """All other gaps, with nothing left to say: the typing was slower than speech."""
        return [gap for gap in self.playout.gaps if not self._pending_at(gap)]

    def _pending_at(self, gap: Gap) -> bool:
        """Whether the server owed audio when the player ran empty before sample ``gap.position``."""
        if not self.alignments:
            return not _any_within(self._commit_times(), gap.start_s, gap.end_s)
        aligned = [alignment for at_s, alignment in self.alignments if at_s <= gap.start_s]
        if any(end > gap.position for alignment in aligned for end in alignment.end_samples[-1:]):
            return True
        ends = (end for utterance in self.commits() for end in utterance)
        committed = max((end for end in ends if self.sent_at_s[end - 1] <= gap.start_s), default=0)
        spoken = max((alignment.text_offset + len(alignment.text) for alignment in aligned), default=0)
        return any(char.isalnum() for char in self.text[spoken:committed])

    # --- proof

    def verify(self) -> list[RequestFailed]:
        """What is wrong with what came, given that the session ended as it should; one failure a kind."""
        checks = (self._check_done(), self._check_positions(), self._check_length(), self._check_alignment())
        return [failure for failure in checks if failure is not None]

    def position_errors(self) -> int:
        """Frames that did not begin where the one before ended."""
        return sum(1 for arrival in self.arrivals if arrival.position != arrival.expected)

    def _check_done(self) -> RequestFailed | None:
        if self.done is None:
            return RequestFailed("no_done", "the session ended without done")
        if self.done.text_offset != len(self.text):
            told = f"done at text offset {self.done.text_offset}, sent were {len(self.text)} characters"
            return RequestFailed("text_lost", told)
        if self.done.samples != self.playout.received:
            told = f"done tells {self.done.samples} samples, received were {self.playout.received}"
            return RequestFailed("samples_lost", told)
        return None

    def _check_positions(self) -> RequestFailed | None:
        wrong = next((a for a in self.arrivals if a.position != a.expected), None)
        if wrong is None:
            return None
        return RequestFailed(
            "positions", f"a frame came for sample {wrong.position}, expected was {wrong.expected}"
        )

    def _check_length(self) -> RequestFailed | None:
        spoken = sum(char.isalnum() for char in self.text)
        if MIN_SECONDS_PER_CHAR * spoken <= self.audio_s <= MAX_SECONDS_PER_CHAR * max(spoken, 1):
            return None
        return RequestFailed(
            "implausible_length", f"{self.audio_s:.2f} s of audio for {spoken} letters and digits"
        )

    def _check_alignment(self) -> RequestFailed | None:
        if not self.alignments:
            return None
        aligned = "".join(alignment.text for _, alignment in self.alignments)
        starts = [start for _, alignment in self.alignments for start in alignment.start_samples]
        if aligned != self.text:
            return RequestFailed(
                "alignment", f"{len(aligned)} aligned characters are not the {len(self.text)} sent"
            )
        if any(later < earlier for earlier, later in pairwise(starts)):
            return RequestFailed("alignment", "the starts decrease somewhere")
        return None


def _any_within(times_s: list[float], start_s: float, end_s: float) -> bool:
    """Whether one of the ascending ``times_s`` is after ``start_s`` and not after ``end_s``."""
    return bisect_right(times_s, start_s) < bisect_right(times_s, end_s)


def first_audible(audio: npt.NDArray[np.int16], rate_hz: int) -> int | None:
    """The first sample of the first 10 ms window of ``audio`` (samples,) louder than AUDIBLE_RMS, or None."""
    window = max(1, int(rate_hz * _RMS_WINDOW_S))
    whole = audio[: len(audio) // window * window].astype(np.float64).reshape(-1, window) / 32768
    loud = np.flatnonzero(np.sqrt((whole**2).mean(axis=1)) > AUDIBLE_RMS)
    return int(loud[0]) * window if loud.size else None
