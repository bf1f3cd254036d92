from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from segmentation.segmenter import LOOKAHEAD, MAX_WEIGHT, WIDE_WEIGHT, Segmenter, char_weight

# Letters, both kinds of marks, quotes, blanks, digits, wide and combining characters: where cuts are decided.
PROSE = st.text(
    st.sampled_from("abcXYZ .!?…,;:—\n\t\"')(0129。！？，、；：」你好é\u0301\u200d👩ー"), max_size=700
)


def segments_of(text: str, *, flush: bool = True) -> list[str]:
    segmenter = Segmenter()
    segments = segmenter.feed(text)
    return segments + segmenter.flush() if flush else segments


@given(PROSE)
def test_segments_concatenated_are_the_text(text: str) -> None:
    assert "".join(segments_of(text)) == text


@given(st.text(max_size=400))
def test_any_text_is_kept(text: str) -> None:
    assert "".join(segments_of(text)) == text


@given(PROSE, st.lists(st.integers(1, 40), max_size=60))
def test_cuts_do_not_depend_on_how_the_text_arrives(text: str, sizes: list[int]) -> None:
    segmenter = Segmenter()
    segments: list[str] = []
    rest = text
    for size in sizes:
        segments += segmenter.feed(rest[:size])
        rest = rest[size:]
    segments += segmenter.feed(rest) + segmenter.flush()
    assert segments == segments_of(text)


@given(PROSE)
def test_no_segment_is_empty_or_beyond_the_cap(text: str) -> None:
    longest = MAX_WEIGHT + LOOKAHEAD * WIDE_WEIGHT
    for segment in segments_of(text):
        assert segment
        assert sum(map(char_weight, segment)) <= longest


@pytest.mark.parametrize("char", ["!", ".", "a", " ", "\n", "好", "。", '"', ",", "e\u0301", "👩\u200d"])
def test_no_run_of_one_character_is_held_back_for_ever(char: str) -> None:
    segmenter = Segmenter()
    segmenter.feed(char * 5000)
    assert segmenter.buffered_chars <= 2 * MAX_WEIGHT


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Good morning. How are you? Fine.", "Good morning. "),
        ("Mr. Smith met Dr. No. They talked.", "Mr. Smith met Dr. No. "),
        ("Pi is 3.14 or so. Yes.", "Pi is 3.14 or so. "),
        ("J. R. R. Tolkien wrote it. Yes.", "J. R. R. Tolkien wrote it. "),
        ("The U.S. army left. Yes.", "The U.S. army left. "),
        ("Cups etc. are here. Yes.", "Cups etc. are here. "),
        ("Meet at 5 p.m. Then we eat.", "Meet at 5 p.m. "),
        ("1. Wash it. 2. Dry it.", "1. Wash it. "),
        ('He said "stop!" and left. Yes.', 'He said "stop!" '),
        ("你好。今天天气很好。", "你好。"),
        ("“你好。”他说。", "“你好。”"),
        ("Well now... maybe not. Yes.", "Well now... "),
        ("Hm... maybe not. Yes.", "Hm... maybe not. "),
        ("See www.example.com now. Yes.", "See www.example.com now. "),
        ("A title\n\nThe text.", "A title\n\n"),
        ("It was I. Then he left.", "It was I. "),
    ],
)
def test_first_cut(text: str, first: str) -> None:
    assert segments_of(text)[0] == first


def test_a_full_stop_waits_for_what_follows() -> None:
    assert segments_of("It is 3.", flush=False) == []
    assert segments_of("It is late.", flush=False) == []
    assert segments_of("It is late. ", flush=False) == ["It is late. "]


def test_only_the_first_segment_is_cut_early() -> None:
    text = "First of all, we take the road, then the bridge, and then we are home. "
    assert segments_of(text, flush=False) == [
        "First of all, ",
        "we take the road, then the bridge, and then we are home. ",
    ]


def test_after_a_flush_the_next_segment_is_early_again() -> None:
    segmenter = Segmenter()
    segmenter.feed("Hello there. And so")
    assert segmenter.flush() == ["And so"]
    assert segmenter.feed("First of all, we") == ["First of all, "]


def test_the_hard_cap_falls_on_a_blank() -> None:
    segmenter = Segmenter()
    segmenter.feed("One. ")
    (segment, *_) = segmenter.feed("word " * 100)
    assert segment.endswith(" ")
