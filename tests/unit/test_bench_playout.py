"""The simulated player, and what a session's silences are put down to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.playout import Playout
from bench.tts_protocol import Alignment, Done, Flushed, Frame
from bench.tts_trace import SessionTrace, first_audible

RATE_HZ = 1000
CHAR_SAMPLES = 100


def test_audio_in_time_plays_without_a_gap() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(10.0, 500)
    playout.receive(10.4, 500)
    assert playout.gaps == []
    assert playout.heard_at_s(999) == pytest.approx(10.999)


def test_late_audio_leaves_a_gap_and_shifts_what_follows() -> None:
    playout = Playout(RATE_HZ)
    playout.receive(10.0, 500)
    playout.receive(11.0, 500)
    (gap,) = playout.gaps
    assert (gap.position, gap.start_s, gap.end_s) == (500, 10.5, 11.0)
    assert gap.duration_ms == pytest.approx(500)
    assert playout.heard_at_s(499) == pytest.approx(10.499)
    assert playout.heard_at_s(500) == pytest.approx(11.0)
    assert [playout.played(at_s) for at_s in (9.0, 10.25, 10.8, 11.125, 20.0)] == [0, 250, 500, 625, 1000]


@given(
    st.lists(
        st.tuples(st.floats(min_value=0, max_value=3), st.integers(min_value=1, max_value=2000)), min_size=1
    )
)
def test_a_player_never_plays_what_it_has_not_and_loses_no_time(waits: list[tuple[float, int]]) -> None:
    playout = Playout(RATE_HZ)
    now_s = 0.0
    for wait_s, samples in waits:
        now_s += wait_s
        assert playout.played(now_s) <= playout.received
        playout.receive(now_s, samples)
    silent_s = sum(gap.duration_ms for gap in playout.gaps) / 1000
    started_s = waits[0][0]
    assert playout.heard_at_s(playout.received) - started_s == pytest.approx(
        playout.received / RATE_HZ + silent_s
    )


class Script:
    """A session written down: 100 samples a character at 1000 Hz, typed and spoken when told."""

    def __init__(self) -> None:
        self.trace = SessionTrace()
        self.trace.open(RATE_HZ)

    def type(self, text: str, at_s: float) -> Script:
        for char in text:
            self.trace.typed(at_s, char)
        return self

    def flush(self) -> Script:
        self.trace.flushed_here()
        return self

    def align(self, text: str, at_s: float) -> Script:
        offset = sum(len(alignment.text) for _, alignment in self.trace.alignments)
        starts = [(offset + n) * CHAR_SAMPLES for n in range(len(text))]
        ends = [start + CHAR_SAMPLES for start in starts]
        self.trace.alignments.append((at_s, Alignment(offset, list(text), starts, ends)))
        return self

    def frame(self, chars: int, at_s: float, level: int = 9000) -> Script:
        audio = np.full(chars * CHAR_SAMPLES, level, dtype="<i2").tobytes()
        self.trace.heard(at_s, Frame(self.trace.playout.received, audio))
        return self

    def done(self) -> Script:
        self.trace.flushed.append(Flushed(self.trace.playout.received, len(self.trace.text)))
        self.trace.done = Done(self.trace.playout.received, len(self.trace.text))
        return self


def test_running_empty_with_a_sentence_unspoken_is_the_servers_stall() -> None:
    script = Script().type("One two. Three four. ", at_s=0.0).flush()
    script.align("One two. ", 0.1).frame(9, 0.1).align("Three four. ", 2.0).frame(12, 2.0).done()
    (stall,) = script.trace.stalls()
    assert stall.duration_ms == pytest.approx(1000)
    assert script.trace.starvations() == []


def test_running_empty_with_nothing_committed_is_the_typists_silence() -> None:
    script = Script().type("One two. ", at_s=0.0).align("One two. ", 0.1).frame(9, 0.1)
    script.type("Three four. ", at_s=1.9).flush().align("Three four. ", 2.0).frame(12, 2.0).done()
    assert script.trace.stalls() == []
    (starvation,) = script.trace.starvations()
    assert starvation.duration_ms == pytest.approx(1000)


def test_half_a_sentence_is_not_owed_yet() -> None:
    script = Script().type("One two. Three", at_s=0.0).align("One two. ", 0.1).frame(9, 0.1)
    script.type(" four. ", at_s=1.9).flush().align("Three four. ", 2.0).frame(12, 2.0).done()
    assert script.trace.stalls() == []


def test_running_empty_within_what_is_being_spoken_is_a_stall() -> None:
    script = (
        Script()
        .type("One two. ", at_s=0.0)
        .flush()
        .align("One two. ", 0.1)
        .frame(4, 0.1)
        .frame(5, 1.0)
        .done()
    )
    (stall,) = script.trace.stalls()
    assert stall.duration_ms == pytest.approx(500)


def test_without_alignment_a_silence_with_no_new_text_is_the_servers() -> None:
    script = Script().type("One two. Three four. ", at_s=0.0).flush().frame(9, 0.1).frame(12, 2.0).done()
    assert len(script.trace.stalls()) == 1
    assert list(script.trace.frame_gaps_s()) == pytest.approx([1.0])


def test_without_alignment_a_silence_that_new_text_ends_accuses_nobody() -> None:
    script = Script().type("One two. ", at_s=0.0).flush().frame(9, 0.1).done()
    script.type("Three four. ", at_s=1.9).flush().frame(12, 2.0).done()
    assert script.trace.stalls() == []
    assert len(script.trace.starvations()) == 1
    assert list(script.trace.frame_gaps_s()) == []


def test_time_to_first_audio_counts_from_the_first_speakable_piece_of_each_utterance() -> None:
    script = Script().type("One two.", at_s=0.0).type(" ", at_s=1.0).type("More. ", at_s=2.0).flush()
    script.align("One two. ", 1.1).frame(9, 1.1).align("More. ", 2.1).frame(6, 2.1).done()
    script.type("Three four.", at_s=5.0).type(" ", at_s=6.0).flush()
    script.align("Three four. ", 6.3).frame(1, 6.3, level=0).frame(11, 6.3).done()
    assert [ttfa for ttfa, _ in script.trace.ttfa()] == pytest.approx([0.1, 0.3])
    assert [audible for _, audible in script.trace.ttfa()] == pytest.approx([0.1, 0.4])
    assert script.trace.verify() == []


def test_a_frame_gap_is_told_only_where_the_text_was_there() -> None:
    script = Script().type("One two. ", at_s=0.0).align("One two. ", 0.1).frame(4, 0.1).frame(5, 0.3)
    script.type("Three four. ", at_s=3.0).flush().align("Three four. ", 3.1).frame(12, 3.1).done()
    assert list(script.trace.frame_gaps_s()) == pytest.approx([0.2 - 0.4])


def test_character_to_sound_follows_the_player() -> None:
    script = Script().type("Ab. ", at_s=0.0).flush().align("Ab. ", 0.5).frame(4, 0.5).done()
    assert list(script.trace.char_lags_s()) == pytest.approx([0.5, 0.6])


def test_first_audible_window() -> None:
    audio = np.zeros(100, dtype=np.int16)
    assert first_audible(audio, RATE_HZ) is None
    audio[37] = 20000
    assert first_audible(audio, RATE_HZ) == 30
    assert first_audible(audio[:0], RATE_HZ) is None
