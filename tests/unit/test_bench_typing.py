"""Typing plans repeat, keep their time, and are cut where speech could begin."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from segmentation.segmenter import EARLY_WORD_WEIGHT, first_cut

from bench import speakable, typing_plan
from bench.prompts import bundled_lines, choose, question

SENTENCES = bundled_lines("sentences")


def test_the_same_seed_types_the_same() -> None:
    first = typing_plan.draw(SENTENCES, 5, 5.0, 30.0, seed=3)
    assert typing_plan.draw(SENTENCES, 5, 5.0, 30.0, seed=3) == first
    assert typing_plan.draw(SENTENCES, 5, 5.0, 30.0, seed=4) != first
    assert len({plan.text for plan in first}) == 5


def test_more_people_only_join() -> None:
    assert typing_plan.draw(SENTENCES, 9, 5.0, 30.0, seed=3)[:4] == typing_plan.draw(
        SENTENCES, 4, 5.0, 30.0, seed=3
    )


@given(
    cps=st.floats(min_value=0.5, max_value=100),
    duration_s=st.floats(min_value=2, max_value=60),
    seed=st.integers(min_value=0, max_value=1000),
)
def test_keys_come_in_time_at_their_rate(cps: float, duration_s: float, seed: int) -> None:
    (plan,) = typing_plan.draw(SENTENCES, 1, cps, duration_s, seed)
    keys = list(plan.keystrokes())
    assert "".join(key.char for key in keys) == plan.text
    assert sum(key.last for key in keys) == len(plan.utterances)
    for before, key in pairwise(keys):
        pause_s = typing_plan.PAUSE_S if before.last else 0.0
        assert key.at_s - before.at_s == pytest.approx(1 / cps + pause_s)
    # The blank at an utterance's end, or a first word longer than the time, may come a little late.
    assert not keys or keys[-1].at_s <= duration_s + (len(plan.utterances[-1].text) + 1) / cps


@pytest.mark.parametrize(
    ("text", "early", "length"),
    [
        ("Yes. And", True, 5),
        ("Yes.", True, None),
        ("Pi is 3.14 or so", True, None),
        ("Well, then", True, None),
        ("For now, then", True, 9),
        ("For now, then", False, None),
        ("He said: “No.” ", False, None),
        ('He said "No." ', False, 14),
        ("你好。再见", True, 3),
        ("word " * 9, True, None),
        ("word " * 10, True, 50),
        ("word " * 10, False, None),
    ],
)
def test_where_speech_can_begin(text: str, early: bool, length: int | None) -> None:
    assert speakable.first_end(text, early=early) == length


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_yardstick_is_the_gateways_own_on_the_bundled_sentences(sentence: str) -> None:
    text = sentence + " "
    assert speakable.first_end(text, early=True) == first_cut(text, EARLY_WORD_WEIGHT)


def test_the_last_piece_ends_with_the_utterance() -> None:
    assert speakable.ends("One two three. Four ") == [15, 20]
    assert speakable.ends("One two three. ") == [15]


def test_prompts_are_asked_in_rounds_that_repeat_with_the_seed() -> None:
    requests = [question(text) for text in "abcd"]
    order = choose(requests, 10, seed=1)
    assert order == choose(requests, 10, seed=1) != choose(requests, 10, seed=2)
    assert sorted(order[:4]) == sorted(order[4:8]) == [0, 1, 2, 3]
    assert len(order) == 10
