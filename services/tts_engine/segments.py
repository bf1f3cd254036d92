"""Text into segments: what is synthesized, and cancelled, as one piece.

A segment is a sentence, or a part of one where the sentence is too long. The segments of a text, joined, are
the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Longer segments cost memory (230 characters take 0.8 GB in Piper's graph, 1150 take 1.9 GB) and delay both
# the first audio and a cancel; shorter ones put pauses and a new intonation where no speaker would.
MAX_SEGMENT_CHARS = 200

_CLOSERS = "\"'”’»）)\\]」』】"
_SENTENCE_END = re.compile(
    rf"(?P<stop>[.!?…]+)[{_CLOSERS}]*(?=\s|$)\s*"  # Latin: the stop must be followed by white space
    rf"|[。！？｡؟।]+[{_CLOSERS}]*\s*"  # these end a sentence by themselves
    r"|\s*\n\s*\n\s*"  # a blank line
)
_CLAUSE_END = re.compile(r"[,;:—–][\"'”’)]*\s+|[，；：、،]\s*")
_WHITE_SPACE = re.compile(r"\s+")

# A full stop after one of these, or after a single capital (an initial), does not end the sentence.
_ABBREVIATION = re.compile(
    r"mrs?|ms|dr|prof|st|sr|jr|gen|col|capt|lt|sgt|rev|hon|vs|etc|inc|ltd|corp|fig|vol|approx|dept|est"
    r"|ph\.d|e\.g|i\.e|[ap]\.m|u\.[sk]|z\.b|d\.h|bzw|usw|nr",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"[\w.]+$")


@dataclass(frozen=True)
class Segment:
    """A piece of the request's text.

    `text` is the slice as it came, `spoken` what the voice is given: without the white space around it and
    without NUL, which espeak refuses. `spoken` is empty where there is nothing to say.
    """

    text: str

    @property
    def spoken(self) -> str:
        return self.text.replace("\0", "").strip()


def split(text: str) -> Iterator[Segment]:
    """Cut `text` into segments of at most MAX_SEGMENT_CHARS code points; `''` gives none."""
    start = 0
    for end in _sentence_ends(text):
        yield from _capped(text[start:end])
        start = end


def _sentence_ends(text: str) -> Iterator[int]:
    end = 0
    for match in _SENTENCE_END.finditer(text):
        # Stops before the first word ("... and then") are no sentence of their own.
        if not text[end : match.start()].strip() or _is_abbreviation(text, match):
            continue
        end = match.end()
        yield end
    if end < len(text):
        yield len(text)


def _is_abbreviation(text: str, match: re.Match[str]) -> bool:
    if match["stop"] != "." or match.end() == len(text):
        return False
    word = _LAST_WORD.search(text, max(0, match.start() - 12), match.start())
    if word is None:
        return False
    is_initial = len(word[0]) == 1 and word[0].isupper() and word[0] != "I"
    return is_initial or _ABBREVIATION.fullmatch(word[0]) is not None


def _capped(sentence: str) -> Iterator[Segment]:
    while len(sentence) > MAX_SEGMENT_CHARS:
        cut = _best_cut(sentence)
        yield Segment(sentence[:cut])
        sentence = sentence[cut:]
    yield Segment(sentence)


def _best_cut(sentence: str) -> int:
    """The last clause end in reach; else the last white space; else the cap itself."""
    for boundary in (_CLAUSE_END, _WHITE_SPACE):
        ends = [m.end() for m in boundary.finditer(sentence, 0, MAX_SEGMENT_CHARS)]
        # A cut near the start would leave a stump and gain nothing.
        if ends and ends[-1] >= MAX_SEGMENT_CHARS // 4:
            return ends[-1]
    return MAX_SEGMENT_CHARS
