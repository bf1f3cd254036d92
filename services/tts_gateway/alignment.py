"""Units of text and the samples they end at."""

from __future__ import annotations

import re

from tts_gateway.engine import Units

# A word takes the blanks after it, so that words, concatenated, are the text.
_WORD = re.compile(r"\s*\S+\s*|\s+")


def words_of(characters: Units) -> Units:
    """Group characters (one unit each, in order) into words."""
    words = _WORD.findall("".join(characters.texts))
    ends: list[int] = []
    count = 0
    for word in words:
        count += len(word)
        ends.append(characters.ends[count - 1])
    return Units(words, ends)
