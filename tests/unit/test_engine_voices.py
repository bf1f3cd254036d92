"""Voices on disk: whole, corrupt, incomplete, foreign; a real one, and small ones in its place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from piper.config import PhonemeType
from tts_engine.errors import VoiceRefused
from tts_engine.model import Scales
from tts_engine.model_cache import ModelCache
from tts_engine.runtime import Runtime
from tts_engine.voice_files import VoiceFiles, snapshot, voice_files, voice_names
from tts_engine.voices import Voice, load_voice, memory_bytes, read_info, speaker_names, trial_ids

from tests import voices

CACHE = ModelCache(None, Runtime())
SCALES = Scales(noise=0.6, length=1.0, noise_w=0.8)


def files_of(directory: Path, name: str = "joe") -> VoiceFiles:
    return voice_files(directory, name, snapshot(directory))


def load(directory: Path, name: str = "joe") -> Voice:
    files = files_of(directory, name)
    return load_voice(files, read_info(files), CACHE)


def reason(directory: Path) -> str:
    with pytest.raises(VoiceRefused) as refused:
        load(directory)
    assert refused.value.name == "joe"
    return refused.value.reason


def test_a_real_voice(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe")
    voice = load(tmp_path)
    assert (voice.name, voice.info.language, voice.sample_rate_hz) == ("joe", "en-US", 22050)
    assert dict(voice.info.speakers) == {"default": 0}
    assert voice.model.is_windowed
    assert voice.memory_bytes == memory_bytes(voices.MODEL.stat().st_size) > voices.MODEL.stat().st_size


def test_a_voice_of_two_speakers(tmp_path: Path) -> None:
    voices.install(
        tmp_path, "joe", voices.tiny(n_speakers=2), num_speakers=2, speaker_id_map={"bo": 1, "al": 0}
    )
    voice = load(tmp_path)
    assert voice.model.is_windowed
    assert speaker_names(voice.info) == ["al", "bo"]


def test_speakers_without_names_have_numbers(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny(), num_speakers=3)
    assert speaker_names(read_info(files_of(tmp_path))) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("changes", "language"),
    [
        ({"language": {"code": "pt_BR"}}, "pt-BR"),
        ({"language": None, "espeak": {"voice": "en-us"}}, "en-US"),
        ({"language": {}, "espeak": {"voice": "de"}}, "de"),
    ],
)
def test_languages(tmp_path: Path, changes: dict[str, object], language: str) -> None:
    voices.install(tmp_path, "joe", voices.tiny(), **changes)
    assert read_info(files_of(tmp_path)).language == language


@pytest.mark.parametrize("kind", ["espeak", "text", "pinyin"])
def test_phonemizers(tmp_path: Path, kind: str) -> None:
    voices.install(tmp_path, "joe", voices.tiny(), phoneme_type=kind)
    assert load(tmp_path).info.config.phoneme_type is PhonemeType(kind)


def test_no_symbols_are_pipers_own(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny(), phoneme_id_map={})
    voice = load(tmp_path)
    assert len(trial_ids(voice.info.config)) > 80


def test_the_trial_has_the_highest_symbol(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    ids = trial_ids(read_info(files_of(tmp_path)).config)
    assert max(ids) == max(number for ids in voices.config()["phoneme_id_map"].values() for number in ids)
    assert (ids[0], ids[-1]) == (1, 2)
    assert set(ids[1:-1:2]) == {0}


# Digests


@pytest.mark.parametrize("file", ["joe.onnx.sha256", "SHA256SUMS"])
@pytest.mark.parametrize("line", ["{}  joe.onnx\n", "{} *joe.onnx", "# sums\n\n{}  ./voices/joe.onnx\n"])
def test_a_model_has_its_digest(tmp_path: Path, file: str, line: str) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    (tmp_path / file).write_text(line.format(hashlib.sha256(voices.tiny()).hexdigest().upper()))
    files_of(tmp_path).check_model()
    assert load(tmp_path).name == "joe"
    (tmp_path / file).write_text(line.format("0" * 64))
    assert "joe.onnx is corrupt: its SHA-256 is not the expected 0000" in reason(tmp_path)
    with pytest.raises(VoiceRefused, match=r"joe\.onnx is corrupt"):
        files_of(tmp_path).check_model()


def test_a_bare_digest_is_the_models(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    (tmp_path / "joe.onnx.sha256").write_text("0" * 64)
    assert "joe.onnx is corrupt" in reason(tmp_path)


def test_the_voices_own_digest_wins(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  joe.onnx\n")
    (tmp_path / "joe.onnx.sha256").write_text(hashlib.sha256(voices.tiny()).hexdigest())
    assert load(tmp_path).name == "joe"


def test_a_configuration_has_a_digest_too(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64} *joe.onnx.json\n")
    assert "joe.onnx.json is corrupt" in reason(tmp_path)


def test_digests_that_cannot_be_read(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    (tmp_path / "SHA256SUMS").write_bytes(b"\xff\xfe\x00")
    assert "cannot read" in reason(tmp_path)
    assert "SHA256SUMS" in reason(tmp_path)


# Models


@pytest.mark.parametrize("model", [b"", b"junk", voices.tiny()[:2000]])
def test_a_corrupt_model(tmp_path: Path, model: bytes) -> None:
    voices.install(tmp_path, "joe", model)
    assert "joe.onnx is corrupt or not a Piper model: " in reason(tmp_path)
    assert "\n" not in reason(tmp_path)


def test_a_model_that_cannot_be_cut_speaks(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny(noise=False))
    voice = load(tmp_path)
    assert not voice.model.is_windowed
    (samples,) = voice.model.render(voices.ids(9), SCALES, None, (0,)).windows()
    assert np.isfinite(samples).all()


def test_a_model_with_fewer_symbols_than_its_configuration(tmp_path: Path) -> None:
    highest = max(number for ids in voices.config()["phoneme_id_map"].values() for number in ids)
    voices.install(tmp_path, "joe", voices.tiny(n_symbols=highest))
    assert "indices element out of data bounds" in reason(tmp_path)
    voices.install(tmp_path, "joe", voices.tiny(n_symbols=highest + 1))
    assert load(tmp_path).name == "joe"


def test_a_model_with_fewer_speakers_than_its_configuration(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny(n_speakers=2), num_speakers=3)
    assert "indices element out of data bounds" in reason(tmp_path)


def test_a_model_without_speakers_where_its_configuration_has_them(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny(), num_speakers=2)
    assert "has 2 speakers, but they all sound the same" in reason(tmp_path)


# Configurations


def test_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "joe.onnx").write_bytes(voices.tiny())
    assert "joe.onnx.json: No such file" in reason(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"not json", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "not a Piper voice's configuration: KeyError"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: bytes, expected: str) -> None:
    (tmp_path / "joe.onnx").write_bytes(voices.tiny())
    (tmp_path / "joe.onnx.json").write_bytes(text)
    assert expected in reason(tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"audio": None}, "not a Piper voice's configuration"),
        ({"phoneme_type": "klingon"}, "not a Piper voice's configuration"),
        ({"phoneme_type": "japanese"}, "phonemizer 'japanese' is not supported, only espeak, text, pinyin"),
        ({"audio": {"sample_rate": "22050"}}, "its audio.sample_rate is malformed"),
        ({"audio": {"sample_rate": 0}}, "its audio.sample_rate is malformed"),
        ({"num_speakers": None}, "its num_speakers is malformed"),
        ({"speaker_id_map": {"al": "0"}}, "its speaker_id_map is malformed"),
        ({"speaker_id_map": ["al"]}, "its speaker_id_map is malformed"),
        ({"espeak": {"voice": 1}}, "its espeak.voice is malformed"),
        ({"phoneme_id_map": {"a": [14]}}, "its phoneme_id_map is malformed"),
        ({"phoneme_id_map": {"^": [1], "_": [0], "$": [2]}}, "its phoneme_id_map is malformed"),
        ({"phoneme_id_map": {"^": [1], "_": [0], "$": [2], "a": []}}, "its phoneme_id_map is malformed"),
        ({"phoneme_id_map": {"^": [1], "_": [0], "$": [2], "a": ["b"]}}, "its phoneme_id_map is malformed"),
    ],
)
def test_a_bad_configuration(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    voices.install(tmp_path, "joe", voices.tiny(), **changes)
    assert expected in reason(tmp_path)


# Files


def test_what_counts_as_a_voices_file(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    (tmp_path / "README").touch()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "gone.onnx").symlink_to(tmp_path / "nowhere")
    (tmp_path / "SHA256SUMS").touch()
    os.mkfifo(tmp_path / "pipe.onnx")
    files = snapshot(tmp_path)
    assert sorted(files) == ["SHA256SUMS", "joe.onnx", "joe.onnx.json"]
    assert voice_names(files) == ["joe"]


def test_files_are_equal_while_nothing_of_the_voice_changes(tmp_path: Path) -> None:
    voices.install(tmp_path, "joe", voices.tiny())
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  joe.onnx\n")
    before = files_of(tmp_path)
    assert before.model_bytes == len(voices.tiny())

    voices.install(tmp_path, "zoe", voices.tiny())
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  joe.onnx\n{'1' * 64}  zoe.onnx\n")
    assert files_of(tmp_path) == before

    (tmp_path / "SHA256SUMS").write_text(f"{'2' * 64}  joe.onnx\n")
    assert files_of(tmp_path) != before

    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  joe.onnx\n")
    (tmp_path / "copy").write_bytes(voices.tiny())
    (tmp_path / "copy").rename(tmp_path / "joe.onnx")
    assert files_of(tmp_path) != before
