"""The core against a simulated engine: 10 samples for each character, so that every position is known."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tts_gateway.engine import SpeechChunk, Units
from tts_gateway.errors import (
    BadMessage,
    BadPosition,
    BadText,
    ClientError,
    EngineFailed,
    Flood,
    TextGap,
    TextOverflow,
    Unsupported,
    WrongOrder,
)
from tts_gateway.messages import (
    Ack,
    Alignment,
    AlignmentKind,
    AudioFormat,
    Cancel,
    Cancelled,
    Close,
    Done,
    End,
    Error,
    Flush,
    Flushed,
    Limits,
    Start,
    Started,
    Text,
)
from tts_gateway.session import (
    FRAME_MS,
    MAX_CLIENT_ERRORS,
    MAX_PENDING_ANSWERS,
    MIN_FRAME_MS,
    AudioFrame,
    Hangup,
    Output,
    Segment,
    Session,
)

RATE = 8000
CHAR_SAMPLES = 400
LIMITS = Limits(
    message_bytes=65536,
    unspoken_chars=500,
    sessions=1,
    sessions_per_consumer=1,
    start_timeout_s=10,
    idle_timeout_s=60,
    session_life_s=600,
    ahead_ms=30000,
)


def text(value: str, offset: int | None = None) -> Text:
    return Text(type="text", text=value, offset=offset)


FLUSH = Flush(type="flush")
END = End(type="end")
CANCEL = Cancel(type="cancel")


class Bench:
    """A session, an engine that is stepped by hand, and everything that came out."""

    def __init__(
        self, *, alignment: AlignmentKind = "char", ahead_ms: int = 30000, open_: bool = True
    ) -> None:
        self.session = Session(LIMITS, 10000, 0.0)
        self.now_s = 0.0
        self.sent: list[Output] = []
        self.spoken: list[Segment] = []
        if open_:
            start = Start(type="start", audio=AudioFormat(sample_rate=RATE), ahead_ms=ahead_ms)
            self.session.check_start(start)
            self.session.opened(start, session="s", resume_key="k", voice="v", alignment=alignment, now_s=0.0)
            self.send()

    def say(self, *messages: Text | Flush | End | Cancel | Ack | Close) -> None:
        for message in messages:
            self.session.receive(message, self.now_s)

    def synthesize(self) -> bool:
        segment = self.session.next_segment()
        if segment is None:
            return False
        self.spoken.append(segment)
        ends = [CHAR_SAMPLES * (i + 1) for i in range(len(segment.text))]
        pcm = b"".join(ord(char).to_bytes(4, "little")[:2] * CHAR_SAMPLES for char in segment.text)
        half = len(pcm) // 4 * 2
        self.session.add_audio(segment, SpeechChunk(pcm[:half], Units(list(segment.text), ends)))
        self.session.add_audio(segment, SpeechChunk(pcm[half:]))
        self.session.segment_spoken(segment)
        return True

    def send(self) -> bool:
        output = self.session.next_output(self.now_s)
        if output is None:
            return False
        self.sent.append(output)
        return True

    def run(self) -> None:
        while self.synthesize() or self.send():
            pass

    def frames(self) -> list[AudioFrame]:
        return [output for output in self.sent if isinstance(output, AudioFrame)]

    def heard_samples(self) -> int:
        return sum(len(frame.pcm) // 2 for frame in self.frames())

    def last(self) -> Output:
        return self.sent[-1]


def test_a_text_is_spoken_to_the_end() -> None:
    bench = Bench()
    bench.say(text("Hello there. And more"), END)
    bench.run()
    assert isinstance(bench.sent[0], Started)
    assert [segment.text for segment in bench.spoken] == ["Hello there. ", "And more"]
    assert bench.heard_samples() == 21 * CHAR_SAMPLES
    assert bench.last() == Done(samples=21 * CHAR_SAMPLES, text_offset=21)


def test_nothing_is_spoken_before_a_segment_is_complete() -> None:
    bench = Bench()
    for char in "Hello there.":
        bench.say(text(char))
        assert not bench.synthesize()
    bench.say(text(" "))
    assert bench.synthesize()


def test_flush_speaks_what_is_held_and_is_answered_after_it() -> None:
    bench = Bench()
    bench.say(text("Hel"), FLUSH, text("lo"), FLUSH, FLUSH)
    bench.run()
    assert [segment.text for segment in bench.spoken] == ["Hel", "lo"]
    answers = [output for output in bench.sent if isinstance(output, Flushed)]
    assert [(answer.samples, answer.text_offset) for answer in answers] == [(1200, 3), (2000, 5), (2000, 5)]


def test_cancel_drops_what_was_not_sent_and_takes_new_text() -> None:
    bench = Bench(ahead_ms=1000)
    bench.say(text("A long text that is not sent at once, by far. "), text("And"), END)
    bench.run()
    sent = bench.heard_samples()
    assert sent == RATE
    bench.say(CANCEL)
    bench.run()
    assert bench.last() == Cancelled(sample=sent, text_offset=sent // CHAR_SAMPLES)
    bench.say(text("New."), END)
    bench.run()
    assert bench.spoken[-1].text == "New."
    assert bench.last() == Done(samples=sent + 4 * CHAR_SAMPLES, text_offset=53)


def test_cancel_with_a_sample_tells_the_text_heard_by_then() -> None:
    bench = Bench()
    bench.say(text("Hello there. "), FLUSH)
    bench.run()
    bench.say(Cancel(type="cancel", sample=3 * CHAR_SAMPLES + 1))
    bench.run()
    assert bench.last() == Cancelled(sample=3 * CHAR_SAMPLES + 1, text_offset=3)


def test_audio_of_a_cancelled_segment_is_dropped() -> None:
    bench = Bench()
    bench.say(text("Hello."), FLUSH)
    segment = bench.session.next_segment()
    assert segment is not None
    bench.say(CANCEL)
    bench.session.add_audio(segment, SpeechChunk(b"\1\0" * 4000))
    bench.session.segment_spoken(segment)
    bench.run()
    assert bench.frames() == []
    assert bench.last() == Cancelled(sample=0, text_offset=0)


def test_without_units_text_counts_when_its_segment_was_sent_whole() -> None:
    bench = Bench(alignment="none")
    bench.say(text("Hello."), FLUSH)
    segment = bench.session.next_segment()
    assert segment is not None
    bench.session.add_audio(segment, SpeechChunk(b"\1\0" * 4000))
    bench.send()
    bench.say(CANCEL)
    bench.send()
    assert bench.last() == Cancelled(sample=FRAME_MS * RATE // 1000, text_offset=0)


def test_the_engine_is_not_asked_for_more_than_is_nearly_sent() -> None:
    bench = Bench(ahead_ms=1000)
    bench.say(text("A first sentence which is long enough. " * 5))
    bench.run()
    assert len(bench.spoken) < 5
    assert not bench.session.wants_audio
    bench.say(Ack(type="ack", sample=bench.heard_samples()))
    bench.run()
    bench.say(Ack(type="ack", sample=bench.heard_samples()))
    bench.run()
    assert len(bench.spoken) > 1


def test_it_wakes_when_the_credit_opens() -> None:
    bench = Bench(ahead_ms=1000)
    bench.say(text("A first sentence which is long enough. "))
    bench.run()
    before = bench.heard_samples()
    bench.now_s = bench.session.wake_at(bench.now_s)
    assert bench.now_s < 1
    bench.run()
    assert bench.heard_samples() > before


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([text("a", offset=1)], TextGap),
        ([text("a\0b")], BadText),
        ([text("a" * 501)], TextOverflow),
        ([END, text("a")], WrongOrder),
        ([END, FLUSH], WrongOrder),
        ([END, END], WrongOrder),
        ([Ack(type="ack", sample=1)], BadPosition),
        ([Cancel(type="cancel", sample=1)], BadPosition),
    ],
)
def test_refused_messages(
    messages: list[Text | Flush | End | Cancel | Ack], error: type[ClientError]
) -> None:
    bench = Bench()
    with pytest.raises(error):
        bench.say(*messages)
    bench.say(CANCEL, text("Still here."), FLUSH)
    bench.run()
    assert bench.heard_samples() == 11 * CHAR_SAMPLES


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (Start(type="start", audio=AudioFormat(encoding="mulaw")), Unsupported),
        (Start(type="start", ahead_ms=30001), BadMessage),
    ],
)
def test_refused_starts(start: Start, error: type[ClientError]) -> None:
    with pytest.raises(error):
        Bench(open_=False).session.check_start(start)


def test_nothing_but_start_opens_a_session() -> None:
    bench = Bench(open_=False)
    for message in (text("a"), FLUSH, END, CANCEL):
        with pytest.raises(WrongOrder):
            bench.say(message)
    with pytest.raises(WrongOrder):
        Bench().session.check_start(Start(type="start"))


def test_close_hangs_up_at_once() -> None:
    bench = Bench()
    bench.say(text("Hello."), FLUSH, Close(type="close"))
    bench.run()
    assert bench.last() == Hangup(1000)
    assert bench.frames() == []


def test_a_fatal_error_is_told_and_hangs_up() -> None:
    bench = Bench()
    bench.session.fail(EngineFailed("why"))
    bench.session.fail(EngineFailed("again"))
    bench.run()
    assert bench.sent[1:] == [Error(code="engine_failed", message="why", fatal=True), Hangup(1011)]


def test_a_client_that_only_makes_mistakes_is_hung_up_on() -> None:
    bench = Bench()
    for _ in range(MAX_CLIENT_ERRORS):
        bench.session.fail(BadMessage("no"))
    bench.run()
    assert bench.last() == Hangup(1008)


@pytest.mark.parametrize("message", [CANCEL, FLUSH])
def test_answers_do_not_pile_up(message: Cancel | Flush) -> None:
    bench = Bench()
    with pytest.raises(Flood):
        bench.say(*[message] * (MAX_PENDING_ANSWERS + 1))


@pytest.mark.parametrize(
    ("open_", "active_s", "now_s", "code"),
    [(False, 0, 10, "start_timeout"), (True, 0, 60, "idle_timeout"), (True, 599, 600, "session_expired")],
)
def test_time_limits(open_: bool, active_s: float, now_s: float, code: str) -> None:
    bench = Bench(open_=open_)
    if active_s:
        bench.session.receive(FLUSH, active_s)
        bench.run()
    bench.now_s = now_s - 0.5
    assert not bench.send()
    assert bench.session.wake_at(bench.now_s) == now_s
    bench.now_s = now_s
    bench.run()
    errors = [output.code for output in bench.sent if isinstance(output, Error)]
    assert errors == [code]
    assert bench.last() == Hangup(1008)


def test_a_pause_in_typing_makes_the_next_segment_early() -> None:
    bench = Bench()
    bench.say(text("One sentence. "), text("Then we"))
    bench.now_s = 5.0
    bench.say(text(" go on, and"))
    bench.run()
    assert [segment.text for segment in bench.spoken] == ["One sentence. ", "Then we go on, "]


def test_first_audio_is_timed_after_silence_only() -> None:
    bench = Bench()
    bench.say(text("One sentence. Two sentences. "))
    bench.now_s = 0.25
    bench.run()
    timed = [frame.first_audio_after_s for frame in bench.frames() if frame.first_audio_after_s is not None]
    assert timed == [0.25]


# What a client, an engine and a clock may do, in any order.
WORDS = st.text(st.sampled_from("ab. ,!?\n。，好"), max_size=30)
STEPS = st.one_of(
    st.tuples(st.just("text"), WORDS),
    st.tuples(st.just("again"), st.integers(0, 60)),
    st.tuples(st.sampled_from(["flush", "cancel", "synthesize", "ack"]), st.none()),
    st.tuples(st.just("send"), st.integers(1, 20)),
    st.tuples(st.just("wait"), st.floats(0, 1)),
)


class Player:
    """Plays steps, and knows what the session must have spoken."""

    def __init__(self) -> None:
        self.bench = Bench(ahead_ms=1000)
        self.typed = ""

    def step(self, name: str, argument: object) -> None:
        getattr(self, "_" + name)(argument)

    def _text(self, words: str) -> None:
        self.bench.say(text(words, offset=len(self.typed)))
        self.typed += words

    def _again(self, back: int) -> None:
        """A client that is not sure what arrived sends it again."""
        offset = max(0, len(self.typed) - back)
        self.bench.say(text(self.typed[offset:], offset=offset))

    def _flush(self, _: object) -> None:
        self.bench.say(FLUSH)

    def _cancel(self, _: object) -> None:
        self.bench.say(CANCEL)

    def _ack(self, _: object) -> None:
        self.bench.say(Ack(type="ack", sample=self.bench.heard_samples()))

    def _synthesize(self, _: object) -> None:
        self.bench.synthesize()

    def _send(self, times: int) -> None:
        for _ in range(times):
            self.bench.send()

    def _wait(self, seconds: float) -> None:
        self.bench.now_s += seconds


def play(steps: list[tuple[str, object]]) -> Player:
    player = Player()
    for name, argument in steps:
        with contextlib.suppress(TextOverflow):
            player.step(name, argument)
    return player


@given(st.lists(STEPS, max_size=60))
@settings(deadline=None)
def test_positions_have_no_gap_and_no_overlap(steps: list[tuple[str, object]]) -> None:
    bench = play(steps).bench
    position = 0
    for frame in bench.frames():
        assert frame.sample == position
        position += len(frame.pcm) // 2


@given(st.lists(STEPS, max_size=60))
@settings(deadline=None)
def test_frames_are_neither_splinters_nor_lumps(steps: list[tuple[str, object]]) -> None:
    for frame in play(steps).bench.frames():
        assert MIN_FRAME_MS <= len(frame.pcm) / 2 / RATE * 1000 <= FRAME_MS + MIN_FRAME_MS


@given(st.lists(STEPS.filter(lambda step: step[0] != "cancel"), max_size=60))
@settings(deadline=None)
def test_every_character_is_spoken_exactly_once(steps: list[tuple[str, object]]) -> None:
    player = play(steps)
    bench = player.bench
    bench.say(END)
    for _ in range(200):
        bench.run()
        bench.now_s += 1.0
        bench.say(Ack(type="ack", sample=bench.heard_samples()))
    assert "".join(segment.text for segment in bench.spoken) == player.typed
    pcm = b"".join(frame.pcm for frame in bench.frames())
    expected = b"".join(ord(char).to_bytes(4, "little")[:2] * CHAR_SAMPLES for char in player.typed)
    assert pcm == expected
    done = [output for output in bench.sent if isinstance(output, Done)]
    assert done == [Done(samples=len(pcm) // 2, text_offset=len(player.typed))]


@given(st.lists(STEPS, max_size=60))
@settings(deadline=None)
def test_alignment_comes_before_its_audio_and_never_goes_back(steps: list[tuple[str, object]]) -> None:
    player = play(steps)
    position = 0
    text_offset = 0
    for output in player.bench.sent:
        if isinstance(output, AudioFrame):
            position = output.sample + len(output.pcm) // 2
        if isinstance(output, Alignment):
            assert output.start_samples[0] == position
            assert output.text_offset >= text_offset
            assert output.start_samples[1:] == output.end_samples[:-1]
            assert all(a <= b for a, b in zip(output.start_samples, output.end_samples, strict=True))
            text_offset = output.text_offset + len("".join(output.units))
            assert "".join(output.units) == player.typed[output.text_offset : text_offset]


@given(st.lists(STEPS, max_size=60), st.floats(0, 1))
@settings(deadline=None)
def test_nothing_of_before_follows_a_cancel(steps: list[tuple[str, object]], later_s: float) -> None:
    player = play(steps)
    bench = player.bench
    while bench.send():
        pass
    sent = bench.heard_samples()
    bench.say(CANCEL)
    before = len(bench.sent)
    bench.now_s += later_s
    bench.run()
    (answer,) = bench.sent[before:]
    assert isinstance(answer, Cancelled)
    assert answer.sample == sent
    assert answer.text_offset <= len(player.typed)
    assert bench.session.is_quiet


@given(st.lists(STEPS, max_size=40))
@settings(deadline=None)
def test_a_session_that_has_said_all_sleeps(steps: list[tuple[str, object]]) -> None:
    """No busy loop: with nothing to send, the next wake-up lies in the future."""
    bench = play(steps).bench
    bench.run()
    assert bench.session.wake_at(bench.now_s) > bench.now_s
