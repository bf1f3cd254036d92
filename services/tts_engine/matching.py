"""Two sequences of symbols laid side by side at the least cost (Needleman and Wunsch, 1970)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# What a pair costs, against the two gaps that it replaces. Equal symbols cost nothing; a vowel turns into
# another vowel and a consonant into another one all the time ("the" is ðə, ði or ð), into each other never.
_GAP = 0.6
_SAME_CLASS = 0.7
_OTHER_CLASS = 1.5
_EQUAL = 1e-4  # the sums are rounded
# A table of 64 MB; what is longer is not speech in any hurry.
_MAX_CELLS = 16_000_000

_VOWELS = frozenset("aeiouyæøœɐɑɒɔɘəɚɛɜɝɞɤɨɪɯɵɶʉʊʌʏᵻаеиоуыэюяєіїαεηιουω")
_MARKS = frozenset("ˈˌːˑ")
"""Stress and length: no sound of their own."""

_PAIR, _A_ALONE, _B_ALONE = range(3)


def pairs(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Indices of the symbols of `a` and `b` that belong together, rising in both; a symbol may have none.

    Time and memory are `len(a) * len(b)`. Sequences too long for that are paired evenly.
    """
    if not a or not b:
        return
    if len(a) * len(b) > _MAX_CELLS:
        yield from ((i, i * len(b) // len(a)) for i in range(0, len(a), -(-len(a) // len(b))))
        return
    steps = _steps(_costs(a, b))
    i, j = len(a), len(b)
    found = []
    while i and j:
        step = steps[i - 1, j]
        i -= step != _B_ALONE
        j -= step != _A_ALONE
        if step == _PAIR:
            found.append((i, j))
    yield from reversed(found)


def _steps(costs: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """The last step of the cheapest way to each `(i, j)`. Of equal ways, the one with the earliest pairs."""
    rows, columns = costs.shape
    steps = np.empty((rows, columns + 1), np.int8)
    gaps = np.arange(columns + 1, dtype=np.float32) * np.float32(_GAP)
    total = gaps
    for i in range(rows):
        best = total + np.float32(_GAP)
        paired = total[:-1] + costs[i]
        steps[i] = _A_ALONE
        steps[i, 1:][paired < best[1:] - _EQUAL] = _PAIR
        np.minimum(paired, best[1:], out=best[1:])
        # A run of symbols of b alone may begin at any place before; the best one is a running minimum.
        total = np.minimum.accumulate(best - gaps) + gaps
        steps[i, 1:][total[:-1] + np.float32(_GAP) < best[1:] + _EQUAL] = _B_ALONE
    return steps


def _costs(a: Sequence[str], b: Sequence[str]) -> npt.NDArray[np.float32]:
    symbols = {symbol: number for number, symbol in enumerate(dict.fromkeys((*a, *b)))}
    rows = np.array([symbols[symbol] for symbol in a])
    columns = np.array([symbols[symbol] for symbol in b])
    kinds = np.array([_kind(symbol) for symbol in symbols])
    same = kinds[rows][:, None] == kinds[columns]
    costs = np.where(same, np.float32(_SAME_CLASS), np.float32(_OTHER_CLASS))
    costs[rows[:, None] == columns] = 0
    return costs


@lru_cache(4096)
def _kind(symbol: str) -> int:
    if symbol in _MARKS or unicodedata.combining(symbol[0]):
        return 0
    if unicodedata.normalize("NFD", symbol)[0] in _VOWELS:
        return 1
    return 2 if symbol[0].isalnum() else 3
