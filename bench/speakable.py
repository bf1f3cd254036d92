"""Where typed text can first be spoken: the fixed yardstick that times to first audio are measured against.

It is the benchmark's own, whatever the server does: one that waits for more text than this shows longer
times, one that speaks sooner shorter ones, even below zero.
"""

from __future__ import annotations

import re

# A comma after a word or two, or a word in the middle of a long first clause: enough to begin with.
EARLY_CLAUSE_CHARS = 8
EARLY_WORD_CHARS = 48
# Once speech runs, a clause is worth a cut only when the sentence is long.
CLAUSE_CHARS = 120

# The blank belongs to the boundary: until it is typed, "3." may become "3.5".
_BOUNDARY = re.compile(r"([.!?…])[\"')\]]*\s|([。！？])|([,;:])\s|\s")


def first_end(text: str, *, early: bool) -> int | None:
    """The length in characters of the first speakable piece of ``text``; None while there is none.

    ``early``: the first piece after silence, which may be short.
    """
    for boundary in _BOUNDARY.finditer(text):
        sentence, wide_sentence, clause = boundary.groups()
        long_enough = boundary.start() + 1 >= (EARLY_CLAUSE_CHARS if early else CLAUSE_CHARS)
        word = early and boundary.end() >= EARLY_WORD_CHARS
        if sentence or wide_sentence or (clause and long_enough) or word:
            return boundary.end()
    return None


def ends(text: str) -> list[int]:
    """The ends of all pieces of one utterance; the last is the end of the text, which its flush completes."""
    found: list[int] = []
    start = 0
    while (length := first_end(text[start:], early=not found)) is not None:
        start += length
        found.append(start)
    return found if start == len(text) else [*found, len(text)]
