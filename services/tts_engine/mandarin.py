"""Chinese text into the syllables of Piper's pinyin voices: initial, final and tone of each character.

Piper reads characters with several pronunciations by a neural model (g2pW) that it downloads at first use;
here pypinyin's dictionaries of words do, offline. The symbols are the same.
"""

from __future__ import annotations

import re

from pypinyin import Style, lazy_pinyin

_PAUSES = frozenset("。.？?！!—…、，,：:；; ")

_SYLLABLE = re.compile(r"(?P<initial>zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?(?P<final>[a-z]+)(?P<tone>[1-5])")
_NO_INITIAL = "Ø"

# Interjections without a vowel, and what the voices have instead.
_VOWELLESS = {"n": "en", "ng": "en", "m": "mu", "hm": "heng", "hng": "heng", "ê": "ei"}

_NUMBER = re.compile(r"(?P<sign>[-−])?(?P<digits>\d+(?:\.\d+)?)(?:\s*(?P<unit>[%％]|°\s*C|℃))?")
_DIGITS = "〇一二三四五六七八九"
_UNITS = {10**8: "亿", 10**4: "万", 1000: "千", 100: "百", 10: "十"}
# Longer ones are read digit by digit.
_MAX_INTEGER_DIGITS = 16


def syllables(text: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Pieces that tile `text`, a character or a number each, and the phonemes of each.

    A pause is its own phoneme; what is neither Chinese nor a number (letters of other scripts) has none.
    """
    pieces, read = _numbers_as_words(text)
    # pypinyin takes a list from `_unknown` too, one item a character; its types say only a string.
    spelled = iter(
        lazy_pinyin("".join(read), Style.TONE3, _unknown, neutral_tone_with_five=True)  # type: ignore[arg-type]
    )
    return pieces, [
        tuple(symbol for char in words for symbol in _phonemes(char, next(spelled))) for words in read
    ]


def _unknown(chars: str) -> list[str]:
    """Keeps pypinyin's answer at one item a character."""
    return ["?"] * len(chars)


def _phonemes(char: str, pinyin: str) -> tuple[str, ...]:
    if char in _PAUSES:
        return (char,)
    syllable = _SYLLABLE.fullmatch(_VOWELLESS.get(pinyin[:-1], pinyin[:-1]) + pinyin[-1:])
    if syllable is None:
        return ()
    return (syllable["initial"] or _NO_INITIAL, syllable["final"], syllable["tone"])


def _numbers_as_words(text: str) -> tuple[list[str], list[str]]:
    pieces: list[str] = []
    words: list[str] = []
    at = 0
    for number in _NUMBER.finditer(text):
        between = text[at : number.start()]
        pieces += [*between, number[0]]
        words += [*between, _words(**number.groupdict())]
        at = number.end()
    return [*pieces, *text[at:]], [*words, *text[at:]]


def _words(sign: str | None, digits: str, unit: str | None) -> str:
    """As Piper says it: 25% is 百分之二十五, -7°C is 零下七度."""
    whole, _, fraction = digits.partition(".")
    number = _integer(whole) + ("点" + _digits(fraction) if fraction else "")
    if unit is None:
        return ("负" if sign else "") + number
    if unit in "%％":
        return "百分之" + ("负" if sign else "") + number
    return ("零下" if sign else "") + number + "度"


def _digits(digits: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _integer(digits: str) -> str:
    if len(digits) > _MAX_INTEGER_DIGITS:
        return _digits(digits)
    words = _counted(int(digits))
    return words.removeprefix("一") if words.startswith("一十") else words


def _counted(number: int) -> str:
    for size, unit in _UNITS.items():
        if number >= size:
            count, rest = divmod(number, size)
            zero = "〇" if 0 < rest < size // 10 else ""
            return _counted(count) + unit + zero + (_counted(rest) if rest else "")
    return _DIGITS[number]
