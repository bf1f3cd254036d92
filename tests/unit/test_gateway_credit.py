from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tts_gateway.credit import Credit

RATE = 8000
AHEAD_MS = 1000


def test_without_acks_a_listener_in_real_time_is_assumed() -> None:
    credit = Credit(RATE, AHEAD_MS)
    assert credit.room(0.0) == RATE
    credit.spend(RATE, 0.0)
    assert credit.room(0.0) == 0
    assert credit.room(0.5) == RATE // 2


def test_silence_earns_no_credit() -> None:
    credit = Credit(RATE, AHEAD_MS)
    credit.spend(800, 0.0)
    assert credit.room(3600.0) == RATE


def test_once_acknowledged_only_acks_count() -> None:
    credit = Credit(RATE, AHEAD_MS)
    credit.spend(RATE, 0.0)
    credit.acknowledge(100)
    assert credit.room(60.0) == 100
    assert credit.opens_at(200, 60.0) is None
    credit.acknowledge(50)
    assert credit.room(60.0) == 100


def test_after_a_cancel_the_window_is_whole_again() -> None:
    credit = Credit(RATE, AHEAD_MS)
    credit.spend(RATE, 0.0)
    credit.acknowledge(10)
    credit.skip_to_sent()
    assert credit.room(0.0) == RATE


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 2000)), max_size=50))
def test_never_more_ahead_than_agreed(steps: list[tuple[float, int]]) -> None:
    credit = Credit(RATE, AHEAD_MS)
    now_s = 0.0
    for pause_s, wanted in steps:
        now_s += pause_s
        samples = min(wanted, credit.room(now_s))
        credit.spend(samples, now_s)
        assert credit.sent <= RATE * AHEAD_MS / 1000 + now_s * RATE


@given(st.integers(1, RATE), st.floats(0, 1e6))
def test_there_is_room_when_it_said(samples: int, now_s: float) -> None:
    credit = Credit(RATE, AHEAD_MS)
    credit.spend(credit.room(now_s), now_s)
    opens_s = credit.opens_at(samples, now_s)
    assert opens_s is not None
    assert credit.room(opens_s) >= samples
