"""A segment's text into the phonemes that a voice speaks, and which character each of them comes from.

The phonemes are Piper's own. Where a word begins among them is found by the phonemes of the single words:
laid beside the segment's, they show each word's share, also where espeak runs two together ("of the" is ʌvðə)
or one is many (1234). espeak's own word events say the same, where they say it: they have none for 4 % of the
words, no unambiguous order in 2 % of technical texts, and need espeak to synthesize, at four times the cost.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt
from piper.config import PhonemeType, PiperConfig
from piper.tashkeel import TashkeelDiacritizer

from tts_engine import mandarin
from tts_engine.espeak import Espeak
from tts_engine.matching import pairs

# Piper's own, for Arabic: from this probability on a letter stays without a vowel.
_TASHKEEL_THRESHOLD = 0.8

_STRESS = frozenset("ˈˌ")
_MARKS = _STRESS | frozenset("ː")
_CLAUSE_ENDS = frozenset(",:;")

# Punctuation that is written into the phonemes, and the phoneme that it is.
_PAUSES = {
    **dict.fromkeys(".。｡", "."),
    **dict.fromkeys("?？؟", "?"),
    **dict.fromkeys("!！", "!"),
    **dict.fromkeys(",，、،", ","),
    **dict.fromkeys(":：", ":"),
    **dict.fromkeys(";；", ";"),
}

# Consonants that the same letters are written for, in most languages with an alphabet.
_KIN = {
    sound: kin[0]
    for kin in ("szʃʒʂʐɕʑ", "tdθðɾʈɖʔ", "kcgqxɡɣχç", "rɹʁʀɻɚɝɜ", "fvβ", "lɫɭʎ", "nŋɲɳ", "jʲ", "hɦħ")
    for sound in kin
}

_RAW_PHONEMES = re.compile(r"(\[\[.*?\]\])")
_LANGUAGE_SWITCH = re.compile(r"\([^)]+\)")
_IDEOGRAPH = re.compile(
    "[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)

# Over the classes of the code points (see `_class`): what is phonemized by itself.
_PIECE = re.compile(
    r"r+"  # raw phonemes in [[ ]]
    r"|w[wm]*(?:iw[wm]*)*"  # a word or a number: don't, 3.14, e.g
    r"|[cio]m*"  # an ideograph, a symbol
    r"|m+|s+"
)
_INNER = frozenset(".,'’")
_JOINERS = frozenset("\u00ad\u200c\u200d\ufe0e\ufe0f")

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Phonemes:
    """What a voice says for `text`.

    `phonemes` is empty where there is nothing to say. `char_bounds`, `(len(text) + 1,) float64`, is where
    each code point begins among them, with a fraction inside of one; it starts with 0, never decreases, and
    ends with `len(phonemes)`. `words` are spans of code points that tile `text`: a word with the white space
    and punctuation after it; of Chinese and Japanese, each character.
    """

    text: str
    phonemes: tuple[str, ...]
    char_bounds: npt.NDArray[np.float64]
    words: tuple[tuple[int, int], ...]

    def parts(self, limit: int) -> list[Phonemes]:
        """Parts of at most `limit` phonemes that are self when joined, cut after a space where there is one.

        A character whose phonemes are cut apart is of the part that it begins in, so a part's text may be
        empty; a part that is only a pause has its text and no phonemes.
        """
        parts = []
        start = char_start = 0
        for end in _cuts(self.phonemes, limit):
            char_end = max(char_start, int(np.searchsorted(self.char_bounds[:-1], end)))
            if end == len(self.phonemes):
                char_end = len(self.text)
            parts.append(self._part(start, end, char_start, char_end))
            start, char_start = end, char_end
        return parts

    def _part(self, start: int, end: int, char_start: int, char_end: int) -> Phonemes:
        phonemes = self.phonemes[start:end] if _is_speech(self.phonemes[start:end]) else ()
        bounds = np.clip(self.char_bounds[char_start : char_end + 1] - start, 0, len(phonemes))
        bounds[0] = 0
        bounds[-1] = len(phonemes)
        words = ((max(first, char_start), min(last, char_end)) for first, last in self.words)
        return Phonemes(
            text=self.text[char_start:char_end],
            phonemes=phonemes,
            char_bounds=bounds,
            words=tuple((first - char_start, last - char_start) for first, last in words if first < last),
        )


def _cuts(phonemes: Sequence[str], limit: int) -> Iterator[int]:
    start = 0
    while len(phonemes) - start > limit:
        end = start + limit
        start = next((at for at in range(end, start, -1) if phonemes[at - 1] == " "), end)
        yield start
    yield len(phonemes)


class Phonemizer:
    """Text into phonemes, for every voice of the process. Blocking, and for one thread: see Espeak."""

    def __init__(self) -> None:
        self._espeak = Espeak()
        self._tashkeel: TashkeelDiacritizer | None = None

    def phonemize(self, config: PiperConfig, text: str, *, is_aligned: bool = True) -> Phonemes:
        """Raises RuntimeError where espeak does not have the configuration's voice.

        The phonemes are the same without alignment; characters then share them evenly, which costs nothing.
        """
        if config.phoneme_type is PhonemeType.TEXT:
            return _assembled(text, _decomposed(text), _starts([_decomposed(char) for char in text]))
        if config.phoneme_type is PhonemeType.PINYIN:
            chars, syllables = mandarin.syllables(text)
            return _assembled(chars, list(chain.from_iterable(syllables)), _starts(syllables))
        phonemes = self._spoken(config, text)
        if not is_aligned:
            return _unaligned(text, phonemes)
        pieces = _pieces(text)
        sounds = [self._sound(config, piece) for piece in pieces]
        return _assembled(pieces, phonemes, _bounds(pieces, phonemes, sounds))

    def _sound(self, config: PiperConfig, piece: str) -> Sequence[str]:
        if piece.isspace():
            return " "
        return _PAUSES.get(piece) or self._spoken(config, piece)

    def _spoken(self, config: PiperConfig, text: str) -> list[str]:
        """As piper.voice's phonemize, with raw phonemes in [[ ]], but its sentences in one list."""
        parts = _RAW_PHONEMES.split("".join(filter(_is_speakable, text)))
        sentences = self._sentences(config, parts[0])
        for number in range(1, len(parts), 2):
            before, raw, after = parts[number - 1 : number + 2]
            first, *rest = self._sentences(config, after)
            sentences[-1] += [
                *(" " if before.endswith(" ") else ""),
                *raw[2:-2].strip(),
                *(" " if after.startswith(" ") else ""),
                *first,
            ]
            sentences += rest
        return _joined([sentence for sentence in sentences if sentence])

    def _sentences(self, config: PiperConfig, text: str) -> list[list[str]]:
        """One at least, which may be empty."""
        if config.espeak_voice == "ar":
            text = self._with_vowels(text)
        sentences: list[list[str]] = [[]]
        for clause in self._espeak.clauses(config.espeak_voice, text):
            ipa = _LANGUAGE_SWITCH.sub("", clause.ipa) + clause.punctuation
            sentences[-1] += _decomposed(ipa + " " if clause.punctuation in _CLAUSE_ENDS else ipa)
            if clause.ends_sentence:
                sentences.append([])
        if len(sentences) > 1 and not sentences[-1]:
            sentences.pop()
        if config.vowel_clusters:
            sentences = [_merged(sentence, config.vowel_clusters) for sentence in sentences]
        return sentences

    def _with_vowels(self, text: str) -> str:
        if self._tashkeel is None:
            self._tashkeel = TashkeelDiacritizer()
        return self._tashkeel(text, taskeen_threshold=_TASHKEEL_THRESHOLD)


def _is_speakable(char: str) -> bool:
    """espeak's text ends at NUL, and UTF-8 has no lone surrogates."""
    return char != "\0" and not "\ud800" <= char <= "\udfff"


def _is_speech(phonemes: Sequence[str]) -> bool:
    return any(phoneme.isalnum() for phoneme in phonemes)


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def _joined(sentences: Sequence[Sequence[str]]) -> list[str]:
    """One list for what espeak took for several sentences ("Mr." ends one for espeak, not for us)."""
    phonemes: list[str] = []
    for sentence in sentences:
        if phonemes:
            if phonemes[-1] == ".":
                phonemes.pop()
            phonemes.append(" ")
        phonemes.extend(sentence)
    return phonemes


def _merged(phonemes: Sequence[str], clusters: Collection[tuple[str, ...]]) -> list[str]:
    """With the voice's `clusters`, at each place the longest, as one phoneme: "a" "ɪ" is "aɪ"."""
    longest_first = sorted(clusters, key=len, reverse=True)
    merged = []
    at = 0
    while at < len(phonemes):
        fits = (c for c in longest_first if tuple(phonemes[at : at + len(c)]) == c)
        found = next(fits, (phonemes[at],))
        merged.append("".join(found))
        at += len(found)
    return merged


def _pieces(text: str) -> list[str]:
    """Words, numbers, symbols and white space; joined, they are `text`."""
    classes = "".join(map(_class, text))
    for raw in _RAW_PHONEMES.finditer(text):
        classes = classes[: raw.start()] + "r" * len(raw[0]) + classes[raw.end() :]
    return [text[match.start() : match.end()] for match in _PIECE.finditer(classes)]


def _class(char: str) -> str:
    """White space, ideograph, mark, word, inner punctuation, other."""
    if char.isspace():
        return "s"
    if _IDEOGRAPH.match(char):
        return "c"
    if char in _JOINERS or unicodedata.category(char) in ("Mn", "Mc", "Me", "Sk"):
        return "m"
    if char.isalnum():
        return "w"
    return "i" if char in _INNER else "o"


def _starts(sounds: Iterable[Sequence[str]]) -> Ints:
    """Where each begins in all of them, and the end, `(n + 1,)`."""
    return np.cumsum([0, *map(len, sounds)])


def _bounds(pieces: Sequence[str], phonemes: Sequence[str], sounds: Sequence[Sequence[str]]) -> Ints:
    """Where each piece begins among `phonemes`, given what each piece sounds like alone; and the end.

    Between two phonemes that belong together, what has no partner on either side is shared out evenly.
    """
    alone = list(chain.from_iterable(sounds))
    starts = _starts(sounds)
    found = np.array([(-1, -1), *pairs(phonemes, alone), (len(phonemes), len(alone))])
    right = np.searchsorted(found[1:, 1], starts) + 1
    heard_from, alone_from = found[right - 1].T + 1
    heard_to, alone_to = found[right].T
    # What only the segment has: a point read aloud, a liaison are of the piece before, "minus" is of "-7".
    extra = [0.0, *(float(not piece.isspace()) for piece in pieces)]
    share = np.where(
        alone_to > alone_from, (starts - alone_from) / np.maximum(alone_to - alone_from, 1), extra
    )
    bounds: Ints = np.rint(heard_from + share * (heard_to - heard_from)).astype(np.int64)
    bounds[0], bounds[-1] = 0, len(phonemes)
    return np.maximum.accumulate([_before_stress(phonemes, bound) for bound in bounds])


def _before_stress(phonemes: Sequence[str], at: int) -> int:
    """A stress mark belongs to the vowel that it stands before."""
    if at == len(phonemes):
        return at
    while at and phonemes[at - 1] in _STRESS:
        at -= 1
    return at


def _assembled(pieces: Sequence[str], phonemes: Sequence[str], bounds: Ints) -> Phonemes:
    if not _is_speech(phonemes):
        phonemes, bounds = (), np.zeros_like(bounds)
    shares = [phonemes[start:end] for start, end in pairwise(bounds)]
    letters = [start + _letter_bounds(p, s) for p, s, start in zip(pieces, shares, bounds[:-1], strict=True)]
    return Phonemes(
        text="".join(pieces),
        phonemes=tuple(phonemes),
        char_bounds=np.concatenate([*letters, [float(len(phonemes))]]),
        words=tuple(_words(pieces, shares)),
    )


def _unaligned(text: str, phonemes: Sequence[str]) -> Phonemes:
    phonemes = tuple(phonemes) if _is_speech(phonemes) else ()
    bounds = np.linspace(0, len(phonemes), len(text) + 1)
    return Phonemes(text, phonemes, bounds, ((0, len(text)),) if text else ())


def _letter_bounds(piece: str, phonemes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Where each letter of a piece begins among its phonemes, `(len(piece),)`.

    A letter begins with the phoneme that it stands for; one that stands for none shares its neighbour's.
    """
    sounding = [at for at, phoneme in enumerate(phonemes) if phoneme not in _MARKS]
    knots = [(0, 0)]
    if len(piece) > 1 and piece.isalpha():
        letters = [_kin(_decomposed(letter.casefold())[0]) for letter in piece]
        for letter, phoneme in pairs(letters, [_kin(phonemes[at]) for at in sounding]):
            if letter > knots[-1][0] and phoneme > knots[-1][1]:
                knots.append((letter, phoneme))
    knots.append((len(piece), len(sounding)))
    at_letters, at_sounds = np.array(knots).T
    even = np.interp(np.arange(len(piece)), at_letters, at_sounds)
    begins = [0, *(_before_stress(phonemes, at) for at in sounding[1:])]
    bounds: npt.NDArray[np.float64] = np.interp(even, np.arange(len(begins) + 1), [*begins, len(phonemes)])
    return bounds


def _kin(sound: str) -> str:
    return _KIN.get(sound, sound)


def _words(pieces: Sequence[str], shares: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """A word begins after white space and at an ideograph; without a sound it is of the word before it."""
    words: list[tuple[int, bool]] = [(0, False)]
    at = 0
    after_space = after_ideograph = False
    for piece, share in zip(pieces, shares, strict=True):
        start, at = at, at + len(piece)
        if piece.isspace():
            after_space = True
            continue
        is_spoken = _is_speech(share)
        is_ideograph = _IDEOGRAPH.match(piece) is not None
        if after_space or is_ideograph or (after_ideograph and is_spoken):
            words.append((start, is_spoken))
        elif is_spoken:
            words[-1] = (words[-1][0], True)
        after_space = False
        after_ideograph = is_ideograph or (after_ideograph and not is_spoken)
    if at:
        yield from pairwise([0, *[start for start, is_spoken in words if is_spoken][1:], at])
