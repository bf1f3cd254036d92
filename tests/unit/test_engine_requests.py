"""A request becomes what can be spoken, or an error that names the field."""

from __future__ import annotations

import asyncio

import pytest
from riva_tts import riva_tts_pb2 as riva
from tts_engine.encodings import Encoding
from tts_engine.errors import InvalidRequest, VoiceNotFound
from tts_engine.library import Library
from tts_engine.model_cache import ModelCache
from tts_engine.requests import MAX_TEXT_BYTES, Alignment, check
from tts_engine.runtime import Runtime
from tts_engine.synthesis import Style

from tests import voices


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    directory = tmp_path_factory.mktemp("voices")
    voices.install(directory, "solo", voices.tiny(1, 10_000))
    twins = voices.tiny(2, 10_000, n_speakers=2)
    voices.install(directory, "twins", twins, num_speakers=2, speaker_id_map={"anna": 0, "bert": 1})
    opened = Library(
        directory, default="solo", preload=(), memory_bytes=None, cache=ModelCache(None, Runtime())
    )
    asyncio.run(opened.open())
    return opened


def request(**fields: object) -> riva.SynthesizeSpeechRequest:
    return riva.SynthesizeSpeechRequest(text="Hello.", **fields)  # type: ignore[arg-type]  # by name


def test_an_empty_request_takes_the_default_voice(library: Library) -> None:
    checked = check(request(), library)
    assert (checked.voice.name, checked.style, checked.sample_rate_hz) == ("solo", Style(), 22050)
    assert (checked.seed, checked.start_sample) == (0, 0)


@pytest.mark.parametrize("language", ["en-US", "en_US", "en-us", "en"])
def test_languages(library: Library, language: str) -> None:
    assert check(request(language_code=language), library).voice.name == "solo"


def test_styles(library: Library) -> None:
    configuration = {"length_scale": "0.5", "noise_scale": "0", "noise_w_scale": "1", "speaker": "1"}
    checked = check(request(voice_name="twins", custom_configuration=configuration), library)
    assert checked.style == Style(length_scale=0.5, noise_scale=0.0, noise_w_scale=1.0, speaker=1)


@pytest.mark.parametrize(("name", "speaker"), [("twins", None), ("twins.bert", 1), ("solo.default", 0)])
def test_a_speaker_in_the_voices_name(library: Library, name: str, speaker: int | None) -> None:
    assert check(request(voice_name=name), library).style.speaker == speaker


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"language_code": "fr-FR"}, ["language_code", "'fr-FR'", "en-US"]),
        ({"sample_rate_hz": 7999}, ["sample_rate_hz", "7999", "8000 to 48000"]),
        ({"sample_rate_hz": 48001}, ["48001"]),
        ({"sample_rate_hz": -1}, ["-1"]),
        ({"encoding": riva.FLAC}, ["encoding", "FLAC", "LINEAR_PCM, MULAW, ALAW, OGGOPUS"]),
        ({"encoding": 77}, ["encoding", "77", "LINEAR_PCM"]),
        ({"custom_dictionary": "a  b"}, ["custom_dictionary", "not supported"]),
        ({"custom_configuration": {"length_scale": "0"}}, ["length_scale", "'0'", "0.25 to 4.0"]),
        ({"custom_configuration": {"length_scale": "nan"}}, ["length_scale", "'nan'"]),
        ({"custom_configuration": {"noise_scale": "1e9"}}, ["noise_scale", "0.0 to 2.0"]),
        ({"custom_configuration": {"noise_w_scale": "much"}}, ["noise_w_scale", "'much'"]),
        ({"custom_configuration": {"pitch": "1"}}, ["'pitch'", "length_scale", "seed", "sample_format"]),
        ({"custom_configuration": {"seed": "1.5"}}, ["'seed'", "'1.5'", "whole number"]),
        ({"custom_configuration": {"start_sample": "9" * 30}}, ["'start_sample'", "whole number"]),
        ({"custom_configuration": {"alignment": "line"}}, ["'alignment'", "'line'", "none, word, char"]),
        ({"custom_configuration": {"sample_format": "s24"}}, ["'sample_format'", "s16, f32"]),
        (
            {"encoding": riva.MULAW, "custom_configuration": {"sample_format": "f32"}},
            ["'sample_format'", "LINEAR_PCM"],
        ),
        ({"voice_name": "twins", "custom_configuration": {"speaker": "2"}}, ["'2'", "anna, bert", "0 to 1"]),
        ({"custom_configuration": {"speaker": "x" * 900}}, ["…"]),
    ],
)
def test_bad_fields_are_named(library: Library, fields: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(request(**fields), library)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert len(str(refused.value)) < 300


def test_text_has_a_limit(library: Library) -> None:
    check(riva.SynthesizeSpeechRequest(text="x" * MAX_TEXT_BYTES), library)
    with pytest.raises(InvalidRequest, match="at most 100000 bytes"):
        check(riva.SynthesizeSpeechRequest(text="é" * (MAX_TEXT_BYTES // 2 + 1)), library)


@pytest.mark.parametrize(
    ("fields", "encoding"),
    [
        ({}, Encoding.PCM_S16LE),
        ({"encoding": riva.LINEAR_PCM, "custom_configuration": {"sample_format": "f32"}}, Encoding.PCM_F32LE),
        ({"encoding": riva.ALAW}, Encoding.ALAW),
        ({"encoding": riva.OGGOPUS}, Encoding.OGG_OPUS),
    ],
)
def test_encodings(library: Library, fields: dict[str, object], encoding: Encoding) -> None:
    assert check(request(**fields), library).encoding is encoding


def test_what_words_are_told(library: Library) -> None:
    def told(**fields: object) -> tuple[Alignment, bool]:
        checked = check(request(**fields), library)
        return checked.alignment, checked.words_only

    assert told() == (Alignment.NONE, False)
    assert told(enable_word_time_offsets=True) == (Alignment.WORD, True)
    configuration = {"alignment": "char"}
    assert told(enable_word_time_offsets=True, custom_configuration=configuration) == (Alignment.CHAR, False)


def test_an_unknown_voice(library: Library) -> None:
    with pytest.raises(VoiceNotFound, match=r"'zoe'; .*solo, twins"):
        check(request(voice_name="zoe"), library)
