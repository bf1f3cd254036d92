"""Who is let in, on a host whose speed is set by hand."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest
from tts_engine.admission import AUDIO_PER_CHAR_GUESS_S, FIRST_SOUND_S, Admission, Stream
from tts_engine.errors import Overloaded
from tts_engine.playback import Playback

SENTENCE_S = 5.0


def stream(seconds: float = SENTENCE_S, consumer: str | None = None, *, is_open: bool = False) -> Stream:
    return Stream(Playback(0.0), round(seconds / AUDIO_PER_CHAR_GUESS_S), is_open, consumer)


def admission(cost: float, threads: int = 2, max_streams: int = 1000) -> Admission:
    made = Admission(threads, max_streams)
    made.cost = cost
    return made


def admitted(host: Admission, *streams: Stream) -> int:
    """How many of them are let in, all at once."""
    count = 0
    with ExitStack() as places:
        for each in streams:
            try:
                places.enter_context(host.place(each, 0.0))
            except Overloaded:
                continue
            count += 1
    assert host.n_streams == 0
    return count


def test_as_many_long_streams_as_the_host_can_keep_up_with() -> None:
    """Twice as fast a host, twice as many; never more than the work fits in."""
    n_slow = admitted(admission(cost=0.2), *(stream(1000) for _ in range(100)))
    n_fast = admitted(admission(cost=0.1), *(stream(1000) for _ in range(100)))
    assert 6 <= n_slow < 2 / 0.2
    assert n_fast == pytest.approx(2 * n_slow, abs=1)


def test_more_short_texts_than_long_ones() -> None:
    n_long = admitted(admission(cost=0.1), *(stream(1000) for _ in range(200)))
    n_short = admitted(admission(cost=0.1), *(stream(1) for _ in range(200)))
    assert n_short > 1.3 * n_long


def test_what_is_played_already_makes_room() -> None:
    host = admission(cost=0.2)
    ahead = [stream(10) for _ in range(8)]
    for each in ahead:
        each.playback.add(10.0, now_s=0.0)
        each.chars_left = 0
    fresh = [stream(1000) for _ in range(100)]
    assert admitted(host, *ahead, *fresh) - len(ahead) == admitted(host, *fresh)


def test_streams_that_are_still_typed_are_counted_with_the_text_to_come() -> None:
    typed = [stream(0, is_open=True) for _ in range(200)]
    n_typed = admitted(admission(cost=0.2), *typed)
    assert admitted(admission(cost=0.2), *(stream(1000) for _ in range(200))) < n_typed < 200


def test_a_consumer_leaves_room_for_another() -> None:
    host = admission(cost=0.1)
    alone = admitted(host, *(stream(1000) for _ in range(100)))
    with ExitStack() as places:
        mine = 0
        with suppress(Overloaded):
            while True:
                places.enter_context(host.place(stream(1000, "mine"), 0.0))
                mine += 1
        with pytest.raises(Overloaded, match="of this consumer"), host.place(stream(1000, "mine"), 0.0):
            pass
        assert 0.7 * alone < mine < 0.95 * alone
        places.enter_context(host.place(stream(1000, "yours"), 0.0))


def test_a_refusal_says_when_to_come_back() -> None:
    host = admission(cost=0.5)
    with (
        host.place(stream(1000), 0.0),
        host.place(stream(1000), 0.0),
        pytest.raises(Overloaded) as refused,
        host.place(stream(1000), 0.0),
    ):
        pass
    assert 100 < refused.value.retry_after_ms <= 10_000


def test_the_number_of_streams_is_bounded_on_the_fastest_host() -> None:
    assert admitted(admission(cost=1e-6, max_streams=3), *(stream() for _ in range(10))) == 3


def test_cost_is_learnt_by_the_audio_it_was_seen_on() -> None:
    host = admission(cost=0.1)
    for _ in range(100):
        host.observe_cost(work_s=0.4, audio_s=2.0)
    assert host.cost == pytest.approx(0.2, rel=0.01)
    assert host.capacity == pytest.approx(10, rel=0.01)
    host.observe_cost(work_s=0.0, audio_s=0.0)
    assert host.cost == pytest.approx(0.2, rel=0.01)


def test_a_first_sound_may_wait_a_little() -> None:
    """Of a text no longer than what a listener waits for it anyway, none is due in the first moment."""
    assert admitted(admission(cost=1.0, threads=1), stream(FIRST_SOUND_S)) == 1


def test_an_idle_host_serves_however_slow_it_was() -> None:
    host = admission(cost=50.0, threads=1)
    assert admitted(host, stream(1000), stream(1000)) == 1
