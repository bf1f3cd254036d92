"""Text, arriving a character at a time, cut into segments to be spoken.

A cut is made at sentence ends (Latin and CJK, abbreviations and numbers not broken), at clause ends once the
segment is long enough, and at a hard cap. The first segment of an utterance is cut early: speech starts soon.

Where a cut falls depends on the text alone, never on how it was split into messages: a decision that the next
character could change waits for it. Segments, concatenated, are exactly the text.
"""

from __future__ import annotations

import re
import unicodedata

# A wide character (CJK) is about a syllable: it lasts as long as three Latin letters.
WIDE_WEIGHT = 3
# Longer segments cost the engine's encoder more than linearly and are worse to cancel; shorter sound choppy.
CLAUSE_WEIGHT = 120
MAX_WEIGHT = 280
# The first segment: shorter sounds abrupt, longer delays the first audio.
EARLY_CLAUSE_WEIGHT = 8
EARLY_WORD_WEIGHT = 48
# How far a decision may look ahead; unbounded runs of "!" or blanks must not hold text back for ever.
LOOKAHEAD = 16

_SENTENCE_ENDS = frozenset(".!?…")
_WIDE_SENTENCE_ENDS = frozenset("。！？｡")
_CLAUSE_ENDS = frozenset(",;:")
_FREE_CLAUSE_ENDS = frozenset("—，、；：､")  # these need no blank after them
_CLOSERS = frozenset("\"'’”»)]}」』】）》〉〕")
_OPENERS = "\"'‘“«([{「『【（《〈〔"
_MARKS = _SENTENCE_ENDS | _WIDE_SENTENCE_ENDS
_BREAKS = _MARKS | _CLAUSE_ENDS | _FREE_CLAUSE_ENDS

# A full stop after these never ends a sentence.
_TITLES = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "gen", "col", "sgt", "capt", "lt", "rev", "hon", "messrs"}
    | {"mme", "mlle", "vs", "cf", "viz", "approx", "fig", "eq", "ca", "hr", "fr", "bzw"}
)
# A full stop after these ends a sentence only if what follows looks like the start of one.
_ENDINGS = frozenset(
    {"etc", "inc", "ltd", "co", "corp", "jr", "sr", "no", "vol", "dept", "est", "a.m", "p.m"}
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_LIST_NUMBER = re.compile(r"(?:\A|\n)\s*\d{1,2}\Z")


class Segmenter:
    """`early_word_weight`: from where on the first segment may end between two words."""

    def __init__(self, early_word_weight: int = EARLY_WORD_WEIGHT) -> None:
        self._early_word_weight = early_word_weight
        self._buffer = ""
        self._early = True

    @property
    def buffered_chars(self) -> int:
        return len(self._buffer)

    def feed(self, text: str) -> list[str]:
        """Take text; return the segments it completes."""
        self._buffer += text
        segments: list[str] = []
        while (length := self._first_cut()) is not None:
            segments.append(self._take(length))
        return segments

    def flush(self) -> list[str]:
        """Everything held, as it is; the next segment is the first of an utterance."""
        segments = [self._take(len(self._buffer))] if self._buffer else []
        self._early = True
        return segments

    def flush_words(self) -> list[str]:
        """As `flush`, but the last word stays, whose end is not known."""
        end = max((at + 1 for at, char in enumerate(self._buffer) if char.isspace()), default=0)
        segments = [self._take(end)] if self._buffer[:end].strip() else []
        self._early = True
        return segments

    def hurry(self) -> None:
        """Cut the next segment early: the listener has been waiting."""
        self._early = True

    def drop(self) -> None:
        self._buffer = ""
        self._early = True

    def _first_cut(self) -> int | None:
        return first_cut(self._buffer, self._early_word_weight if self._early else None)

    def _take(self, length: int) -> str:
        segment, self._buffer = self._buffer[:length], self._buffer[length:]
        self._early = False
        return segment


def first_cut(text: str, early_word_weight: int | None) -> int | None:
    """Length in code points of the first segment of ``text``; None if more text is needed to tell.

    `early_word_weight` is None where there is no need to cut early.
    """
    early = early_word_weight is not None
    clause_weight = EARLY_CLAUSE_WEIGHT if early else CLAUSE_WEIGHT
    weight = 0
    index = 0
    while index < len(text):
        weight += char_weight(text[index])
        if weight >= MAX_WEIGHT:
            return _capped(text[: index + 1])
        end = index + 1
        if text[index] in _BREAKS:
            end = _run_end(text, index)
            boundary = _mark_boundary(text, index, end, long_enough=weight >= clause_weight)
        elif text[index] == "\n":
            boundary = _newline_boundary(text, index, long_enough=weight >= clause_weight)
        else:
            long_enough = early_word_weight is not None and weight >= early_word_weight
            boundary = end if long_enough and text[index].isspace() else 0
        if boundary != 0:
            return boundary
        weight += sum(map(char_weight, text[index + 1 : end]))
        index = end
    return None


def char_weight(char: str) -> int:
    return WIDE_WEIGHT if unicodedata.east_asian_width(char) in "WF" else 1


# A boundary is a cut's position; 0 where there is none, None where the text so far cannot tell.


def _run_end(text: str, start: int) -> int:
    """Past the marks at ``start`` and the closing quotes and brackets after them."""
    end = start + 1
    limit = min(len(text), start + LOOKAHEAD)
    while end < limit and text[end] in _MARKS and text[start] in _MARKS:
        end += 1
    while end < limit and text[end] in _CLOSERS:
        end += 1
    return end


def _mark_boundary(text: str, start: int, end: int, *, long_enough: bool) -> int | None:
    marks = [char for char in text[start:end] if char in _BREAKS]
    is_sentence = marks[0] in _MARKS and not _is_ellipsis(marks)
    if not is_sentence and not long_enough:
        return 0
    if end == len(text) and end < start + LOOKAHEAD:
        return None
    if marks[-1] in _WIDE_SENTENCE_ENDS or marks[0] in _FREE_CLAUSE_ENDS:
        return end
    if end < len(text) and not text[end].isspace():
        return 0
    if marks == ["."]:
        return _stop_boundary(text, start, end)
    return min(end + 1, len(text))


def _is_ellipsis(marks: list[str]) -> bool:
    return marks == ["…"] or (len(marks) > 1 and set(marks) == {"."})


def _stop_boundary(text: str, start: int, end: int) -> int | None:
    """A single full stop and a blank: the end of a sentence, of an abbreviation, or of a list's number."""
    words = text[max(0, start - 24) : start].split()
    word = words[-1].lstrip(_OPENERS) if words and not text[start - 1].isspace() else ""
    if word.lower() in _TITLES or _LIST_NUMBER.search(text[:start]):
        return 0
    if word.lower() in _ENDINGS:
        return _boundary_before_capital(text, end)
    if word != "I" and _INITIALS.fullmatch(word):
        return 0
    return end + 1


def _boundary_before_capital(text: str, end: int) -> int | None:
    following = text[end : end + LOOKAHEAD].lstrip()
    if not following:
        return None if len(text) < end + LOOKAHEAD else end + 1
    return 0 if following[0].islower() or following[0].isdigit() else end + 1


def _newline_boundary(text: str, index: int, *, long_enough: bool) -> int | None:
    """A blank line ends a sentence, a single line break a clause."""
    if index + 1 == len(text):
        return None
    if text[index + 1] == "\n":
        return index + 2
    return index + 1 if long_enough else 0


def _capped(text: str) -> int:
    """Where to cut text that has no other end: at the last blank, else between two whole characters."""
    half = len(text) // 2
    blank = max((i for i in range(half, len(text)) if text[i].isspace()), default=None)
    if blank is not None:
        return blank + 1
    cut = len(text) - 1
    while cut > half and _joins(text[cut - 1], text[cut]):
        cut -= 1
    return cut


def _joins(left: str, right: str) -> bool:
    """Whether the two belong to one written character (combining marks, variation selectors, joiners)."""
    return unicodedata.category(right) in ("Mn", "Me", "Mc") or "\u200d" in (left, right)
