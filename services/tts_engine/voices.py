"""Voices: what one says of itself, and one that can speak."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from piper.config import PhonemeType, PiperConfig
from piper.const import BOS, EOS, PAD
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

from tts_engine.alignment import phoneme_ids
from tts_engine.audio import Samples
from tts_engine.errors import VoiceRefused
from tts_engine.model import Model, Scales
from tts_engine.model_cache import ModelCache
from tts_engine.voice_files import VoiceFiles

# Piper's other phonemizers need packages or models that are not here, one of them a download at first use.
PHONEME_TYPES = (PhonemeType.ESPEAK, PhonemeType.TEXT, PhonemeType.PINYIN)

# The only speaker of a voice without named ones; Riva clients show and send VOICE.SPEAKER.
ONLY_SPEAKER = "default"

# What a loaded voice takes of the process's memory, per byte of its model's file: the weights and, of some of
# them, onnxruntime's copy in the order its kernels read. Measured on Piper's medium voices, with what a first
# utterance leaves: 1.33 for the first of a process, 1.19 for each more.
MEMORY_PER_MODEL_BYTE = 1.35

# About two seconds of speech: enough for several of a decoder's windows.
_TRIAL_PHONEMES = 40
_SILENT = Scales(noise=0.0, length=1.0, noise_w=0.0)


@dataclass(frozen=True)
class VoiceInfo:
    """What a voice's configuration says.

    `language` as in "en-US"; `speakers` maps names to the model's ids, one entry at least.
    """

    name: str
    language: str
    speakers: Mapping[str, int]
    config: PiperConfig

    @property
    def sample_rate_hz(self) -> int:
        return self.config.sample_rate


@dataclass(frozen=True)
class Voice:
    """A voice that can speak. `memory_bytes` is an estimate, see MEMORY_PER_MODEL_BYTE."""

    info: VoiceInfo
    model: Model
    memory_bytes: int

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def sample_rate_hz(self) -> int:
        return self.info.sample_rate_hz


def speaker_names(info: VoiceInfo) -> Sequence[str]:
    """Names, ordered by the model's ids."""
    return sorted(info.speakers, key=info.speakers.__getitem__)


def memory_bytes(model_bytes: int) -> int:
    """What a voice takes once it is loaded, by the size of its model's file."""
    return math.ceil(model_bytes * MEMORY_PER_MODEL_BYTE)


def read_info(files: VoiceFiles) -> VoiceInfo:
    """From the configuration alone. Raises VoiceRefused."""
    file = files.config_file
    raw = _parsed(files.name, file, files.read(file))
    config = _piper_config(files.name, file, raw)
    return VoiceInfo(
        name=files.name,
        language=_language(raw, config),
        speakers=MappingProxyType(dict(config.speaker_id_map) or _numbered_speakers(config)),
        config=config,
    )


def load_voice(files: VoiceFiles, info: VoiceInfo, cache: ModelCache) -> Voice:
    """Takes 0.7 s, or 4 s where the cache does not have the model. Raises VoiceRefused."""
    file = files.model_file
    content = files.read(file)
    ids = trial_ids(info.config)
    # A model is a program from outside, and what it raises, by way of onnx, onnxruntime and the cut, is
    # whatever it happens to trip over. None of it may take down the other voices.
    try:
        model = cache.load(content, ids)
    except Exception as error:
        raise VoiceRefused(info.name, f"{file} is corrupt or not a Piper model: {_one_line(error)}") from None
    try:
        _try_out(info, model, ids)
    except VoiceRefused:
        raise
    except Exception as error:
        raise VoiceRefused(
            info.name, f"{file} cannot speak as its configuration says: {_one_line(error)}"
        ) from None
    return Voice(info, model, memory_bytes(len(content)))


def trial_ids(config: PiperConfig) -> Sequence[int]:
    """An utterance of what the voice knows: the first symbols, and the one with the highest id."""
    known = config.phoneme_id_map or DEFAULT_PHONEME_ID_MAP
    symbols = [symbol for symbol in known if symbol not in (BOS, EOS, PAD)]
    highest = max(symbols, key=lambda symbol: max(known[symbol]))
    return phoneme_ids(config, [*symbols[:_TRIAL_PHONEMES], highest]).ids


def _try_out(info: VoiceInfo, model: Model, ids: Sequence[int]) -> None:
    """Speak: where model and configuration do not fit together, it shows here and not at a user."""
    first, last = (
        _speech(model, ids, speaker) for speaker in (min(info.speakers.values()), max(info.speakers.values()))
    )
    if not len(first) or not np.isfinite(first).all():
        raise VoiceRefused(info.name, "it cannot speak: the model's output is no audio")
    if len(info.speakers) > 1 and np.array_equal(first, last):
        raise VoiceRefused(
            info.name,
            f"its configuration has {len(info.speakers)} speakers, but they all sound the same: "
            "model and configuration are of different voices",
        )


def _speech(model: Model, ids: Sequence[int], speaker: int) -> Samples:
    windows = model.render(ids, _SILENT, speaker, (0,)).windows()
    return np.concatenate([np.zeros(0, np.float32), *windows])


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())}"


def _parsed(name: str, file: Path, content: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError) as error:
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
        supported = ", ".join(kind.value for kind in PHONEME_TYPES)
        raise VoiceRefused(
            name, f"its phonemizer {config.phoneme_type.value!r} is not supported, only {supported}"
        )
    for key, ok in _valid(config).items():
        if not ok:
            raise VoiceRefused(name, f"{file} is not a Piper voice's configuration: its {key} is malformed")
    return config


def _valid(config: PiperConfig) -> dict[str, bool]:
    """What PiperConfig takes unseen, and whether it is what it should be."""
    symbols, speakers = config.phoneme_id_map, config.speaker_id_map
    return {
        "audio.sample_rate": _is_count(config.sample_rate) and config.sample_rate > 0,
        "espeak.voice": isinstance(config.espeak_voice, str),
        "num_speakers": _is_count(config.num_speakers),
        "speaker_id_map": isinstance(speakers, dict) and all(map(_is_count, speakers.values())),
        "phoneme_id_map": isinstance(symbols, dict)
        and (not symbols or {BOS, EOS, PAD} < set(symbols))  # an empty one stands for Piper's own
        and all(isinstance(ids, list) and ids and all(map(_is_count, ids)) for ids in symbols.values()),
    }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


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
