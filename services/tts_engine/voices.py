"""Voices on disk: what is there, what is whole, what can speak.

A voice is NAME.onnx (the model) and NAME.onnx.json (its configuration) in one directory. Where
NAME.onnx.sha256 or SHA256SUMS names a digest for one of the two files, the file must have it.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # type: ignore[import-untyped]
from piper.config import PhonemeType, PiperConfig
from piper.voice import PiperVoice

from tts_engine import logs
from tts_engine.errors import StartError, VoiceNotFound, VoiceRefused

# onnxruntime's exceptions have no common base; these are what a broken or foreign model raises.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotFound,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

# What Piper adds to these where a voice's files do not fit together.
TRY_OUT_ERRORS: tuple[type[Exception], ...] = (*ORT_ERRORS, KeyError, ValueError, RuntimeError)

# Piper's other phonemizers need packages or models that are not here, one of them a download at first use.
PHONEME_TYPES = (PhonemeType.ESPEAK, PhonemeType.TEXT)

# The only speaker of a voice without named ones; Riva clients show and send VOICE.SPEAKER.
ONLY_SPEAKER = "default"

# Where a VITS graph exported by Piper rounds the predicted durations up to whole frames.
DURATIONS_TENSOR = b"/Ceil_output_0"

_SUM_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{64})(?:\s+\*?(?P<file>.+))?")


@dataclass(frozen=True)
class Voice:
    """A voice that can speak.

    `language` as in "en-US"; `speakers` maps names to the model's ids, one entry at least; `has_durations`
    tells whether the graph gives the duration of each phoneme.
    """

    name: str
    language: str
    speakers: Mapping[str, int]
    piper: PiperVoice
    has_durations: bool

    @property
    def sample_rate_hz(self) -> int:
        return self.piper.config.sample_rate


@dataclass(frozen=True)
class Catalogue:
    """The voices of one directory. Of `refused`, the reason by name. `default` is a name of either."""

    loaded: Mapping[str, Voice]
    refused: Mapping[str, str]
    default: str

    def find(self, name: str) -> tuple[Voice, str | None]:
        """The voice, and the speaker if `name` is VOICE.SPEAKER; '' is the default. Raises VoiceNotFound."""
        name = name or self.default
        if name in self.loaded:
            return self.loaded[name], None
        if name in self.refused:
            raise VoiceNotFound(name, self.loaded, f"it was refused at start: {self.refused[name]}")
        voice, _, speaker = name.rpartition(".")
        if voice in self.loaded and speaker in self.loaded[voice].speakers:
            return self.loaded[voice], speaker
        raise VoiceNotFound(name, self.loaded)


def load_catalogue(directory: Path, default: str | None) -> Catalogue:
    """Load every voice of `directory`; a voice that cannot be used is refused by name, and the others serve.

    Raises StartError where none can speak, or where `default` is no voice of the directory.
    """
    names = _names(directory)
    if default is not None and default not in names:
        raise StartError(
            f"default voice {default!r} is not in {directory}; voices there: {', '.join(names)}. "
            "Set --default-voice (TTS_ENGINE_DEFAULT_VOICE) to one of them"
        )
    loaded: dict[str, Voice] = {}
    refused: dict[str, str] = {}
    for name in names:
        started = time.monotonic()
        try:
            voice = loaded[name] = load_voice(directory, name)
        except VoiceRefused as error:
            refused[name] = error.reason
            logs.error("voice_refused", voice=name, reason=error.reason)
        else:
            logs.info(
                "voice_loaded",
                voice=name,
                language=voice.language,
                sample_rate_hz=voice.sample_rate_hz,
                seconds=time.monotonic() - started,
            )
    if not loaded:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise StartError(f"no voice in {directory} can be used ({reasons}). Install the voice again")
    return Catalogue(MappingProxyType(loaded), MappingProxyType(refused), default or next(iter(loaded)))


def _names(directory: Path) -> list[str]:
    try:
        names = sorted(
            path.name.removesuffix(".onnx") for path in directory.iterdir() if path.suffix == ".onnx"
        )
    except OSError as error:
        raise StartError(
            f"cannot read the voices directory {directory}: {error.strerror}. "
            "Create it with a Piper voice in it, or name another with --voices (TTS_ENGINE_VOICES)"
        ) from None
    if not names:
        raise StartError(
            f"no voice in {directory}: looked for NAME.onnx with NAME.onnx.json. "
            "Put a Piper voice there, or name another directory with --voices (TTS_ENGINE_VOICES)"
        )
    return names


def load_voice(directory: Path, name: str) -> Voice:
    """Check and load one voice. Raises VoiceRefused."""
    model_file = directory / f"{name}.onnx"
    config_file = directory / f"{name}.onnx.json"
    sums = _sums(directory, name)
    model = _checked_bytes(name, model_file, sums)
    raw = _parse_config(name, config_file, _checked_bytes(name, config_file, sums))
    config = _piper_config(name, config_file, raw)
    session = _session(name, model_file, model)
    piper = PiperVoice(session=session, config=config)
    _try_out(name, piper)
    return Voice(
        name=name,
        language=_language(raw, config),
        speakers=MappingProxyType(dict(config.speaker_id_map) or _numbered_speakers(config)),
        piper=piper,
        has_durations=len(session.get_outputs()) > 1,
    )


def _sums(directory: Path, name: str) -> dict[str, str]:
    """Digests by file name, from SHA256SUMS and NAME.onnx.sha256; the latter wins."""
    sums: dict[str, str] = {}
    for file, unnamed in (
        (directory / "SHA256SUMS", None),
        (directory / f"{name}.onnx.sha256", f"{name}.onnx"),
    ):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise VoiceRefused(name, f"cannot read {file}: {error}") from None
        for line in lines:
            match = _SUM_LINE.fullmatch(line.strip())
            target = match and (match["file"] or unnamed)
            if match and target:
                sums[Path(target).name] = match["digest"].lower()
    return sums


def _checked_bytes(name: str, file: Path, sums: Mapping[str, str]) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise VoiceRefused(name, f"cannot read {file}: {error.strerror}") from None
    expected = sums.get(file.name)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise VoiceRefused(name, f"{file} is corrupt: its SHA-256 is not the expected {expected}")
    return content


def _parse_config(name: str, file: Path, content: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise VoiceRefused(name, f"{file} is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise VoiceRefused(name, f"{file} is not a JSON object")
    return raw


def _piper_config(name: str, file: Path, raw: dict[str, Any]) -> PiperConfig:
    try:
        config = PiperConfig.from_dict(raw)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VoiceRefused(
            name, f"{file} is not a Piper voice's configuration: {type(error).__name__} {error}"
        ) from None
    if config.phoneme_type not in PHONEME_TYPES:
        raise VoiceRefused(
            name, f"its phonemizer {config.phoneme_type.value!r} is not supported, only espeak and text"
        )
    return config


def _session(name: str, file: Path, model: bytes) -> onnxruntime.InferenceSession:
    """One session for all threads: each run uses its caller's thread only, and none spins while it waits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Costs no time, and gives the memory of a long sentence back when it is spoken.
    options.enable_cpu_mem_arena = False
    providers = ["CPUExecutionProvider"]
    if DURATIONS_TENSOR in model:
        try:
            return onnxruntime.InferenceSession(_with_output(model, DURATIONS_TENSOR), options, providers)
        except ORT_ERRORS:
            logs.info("durations_unavailable", voice=name)
    try:
        return onnxruntime.InferenceSession(model, options, providers)
    except ORT_ERRORS as error:
        raise VoiceRefused(name, f"{file} is corrupt or not an ONNX model: {error}") from None


def _with_output(model: bytes, tensor: bytes) -> bytes:
    """`model` with `tensor` as one more output of its graph.

    Protobuf merges a message field that occurs twice, so a second `graph` with nothing but the output,
    appended to the file's bytes, adds it without an ONNX library. Field numbers from onnx.proto:
    ModelProto.graph 7, GraphProto.output 12, ValueInfoProto.name 1.
    """
    return model + _field(7, _field(12, _field(1, tensor)))


def _field(number: int, payload: bytes) -> bytes:
    if number > 15 or len(payload) > 127:
        raise ValueError("needs a longer varint")
    return bytes([number << 3 | 2, len(payload)]) + payload


def _try_out(name: str, piper: PiperVoice) -> None:
    """Speak a letter: what does not fit together (model, ids, espeak's voice) shows here, not at a user."""
    try:
        phonemes = piper.phonemize("a")
        audio = piper.phoneme_ids_to_audio(piper.phonemes_to_ids([p for part in phonemes for p in part]))
    except TRY_OUT_ERRORS as error:
        raise VoiceRefused(name, f"it cannot speak: {type(error).__name__} {error}") from None
    if not isinstance(audio, np.ndarray) or audio.ndim != 1 or not np.isfinite(audio).all():
        raise VoiceRefused(name, "it cannot speak: the model's output is no audio")


def _language(raw: Mapping[str, Any], config: PiperConfig) -> str:
    """ "en-US" from the configuration's language code, or from espeak's voice where an old one has none."""
    declared = raw.get("language")
    code = declared.get("code") if isinstance(declared, dict) else None
    primary, _, region = str(code or config.espeak_voice).replace("_", "-").partition("-")
    return f"{primary.lower()}-{region.upper()}" if region else primary.lower()


def _numbered_speakers(config: PiperConfig) -> dict[str, int]:
    if config.num_speakers <= 1:
        return {ONLY_SPEAKER: 0}
    return {str(number): number for number in range(config.num_speakers)}


def speaker_names(voice: Voice) -> Sequence[str]:
    """Names, ordered by the model's ids."""
    return sorted(voice.speakers, key=voice.speakers.__getitem__)
