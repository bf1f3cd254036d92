"""The event parser gives the same events however the network cuts the bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import RequestFailed
from bench.sse import MAX_EVENT_BYTES, EventParser

# Text with every character that could confuse: line ends are what the format itself uses.
_LINES = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12)
_ENDINGS = st.sampled_from(["\n", "\r\n", "\r"])


def parse(stream: bytes, cuts: list[int]) -> list[bytes]:
    parser = EventParser()
    positions = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    return [event for start, end in pairwise(positions) for event in parser.feed(stream[start:end])]


@given(
    events=st.lists(st.lists(_LINES, min_size=1, max_size=3), max_size=6),
    ending=_ENDINGS,
    comments=st.booleans(),
    cuts=st.lists(st.integers(min_value=0), max_size=20),
)
def test_events_survive_any_cut(
    events: list[list[str]], ending: str, comments: bool, cuts: list[int]
) -> None:
    stream = ""
    for lines in events:
        stream += f": keep-alive{ending}event: x{ending}" if comments else ""
        stream += "".join(f"data: {line}{ending}" for line in lines) + ending
    assert parse(stream.encode(), cuts) == ["\n".join(lines).encode() for lines in events]


@given(stream=st.binary(max_size=200), cuts=st.lists(st.integers(min_value=0), max_size=20))
def test_cuts_never_change_what_any_bytes_mean(stream: bytes, cuts: list[int]) -> None:
    assert parse(stream, cuts) == parse(stream, [])


def test_an_event_without_its_blank_line_is_no_event() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\n\ndata: b\n") == [b"a"]
    assert parser.feed(b"\n") == [b"b"]


def test_a_byte_order_mark_and_a_missing_blank_are_allowed() -> None:
    assert EventParser().feed(b"\xef\xbb\xbfdata:x\n\n") == [b"x"]


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    parser = EventParser()
    assert parser.feed(b"x" * MAX_EVENT_BYTES) == []
    with pytest.raises(RequestFailed, match="garbage"):
        parser.feed(b"x")
