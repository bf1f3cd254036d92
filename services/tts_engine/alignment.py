"""Characters and words to samples, from the durations that the model itself gave to each phoneme id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from piper.config import PhonemeType, PiperConfig
from piper.const import BOS, EOS, PAD
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

from tts_engine.phonemes import Phonemes

# Piper's pinyin voices have a pad after a syllable, that is after its tone, and after a pause.
_PINYIN_GROUP_ENDS = frozenset("12345。？！.?!—…、，：；,:; ")


@dataclass(frozen=True)
class PhonemeIds:
    """What the model is given: `ids`, with begin, end and pads.

    `bounds`, `(n_phonemes + 1,) float64`, is where each phoneme begins among the ids: a pad is shared half
    and half between its neighbours, begin and end are of the first and the last phoneme.
    """

    ids: tuple[int, ...]
    bounds: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """A character or a word, and its samples at the voice's rate, from the segment's first."""

    text: str
    start: int
    end: int


def phoneme_ids(config: PiperConfig, phonemes: Sequence[str]) -> PhonemeIds:
    """The same ids as Piper's, but none for no phonemes; one that the voice does not know has none."""
    if not phonemes:
        return PhonemeIds((), np.zeros(1))
    by_syllable = config.phoneme_type is PhonemeType.PINYIN
    known = config.phoneme_id_map or DEFAULT_PHONEME_ID_MAP
    pad = known[PAD]
    ids = [*known[BOS], *(() if by_syllable else pad)]
    bounds = []
    last_pad = 0 if by_syllable else len(pad)
    for phoneme in phonemes:
        bounds.append(len(ids) - last_pad / 2)
        if phoneme in known:
            ids += known[phoneme]
            last_pad = 0
            if not by_syllable or phoneme in _PINYIN_GROUP_ENDS:
                ids += pad
                last_pad = len(pad)
    ids += known[EOS]
    return PhonemeIds(tuple(ids), np.array([0.0, *bounds[1:], len(ids)]))


def char_units(phonemes: Phonemes, ids: PhonemeIds, durations: npt.NDArray[np.int64]) -> list[Unit]:
    """A unit for each code point, given the samples of each id.

    Units tile the text and the samples: each begins where the one before ends. One without a sound has no
    samples.
    """
    return _units(phonemes, ids, durations, [(at, at + 1) for at in range(len(phonemes.text))])


def word_units(phonemes: Phonemes, ids: PhonemeIds, durations: npt.NDArray[np.int64]) -> list[Unit]:
    """As `char_units`, for words."""
    return _units(phonemes, ids, durations, phonemes.words)


def _units(
    phonemes: Phonemes,
    ids: PhonemeIds,
    durations: npt.NDArray[np.int64],
    spans: Sequence[tuple[int, int]],
) -> list[Unit]:
    samples = np.concatenate([[0], np.cumsum(durations)])
    of_phonemes = np.interp(ids.bounds, np.arange(len(samples)), samples)
    of_chars = np.interp(phonemes.char_bounds, np.arange(len(of_phonemes)), of_phonemes)
    at = np.rint(of_chars).astype(int).tolist()
    return [Unit(phonemes.text[a:b], at[a], at[b]) for a, b in spans]
