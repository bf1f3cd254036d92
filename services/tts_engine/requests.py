"""Checks: a request as it came becomes one that can be spoken, or an error that names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from riva_tts import riva_tts_pb2 as riva

from tts_engine.encodings import Encoding
from tts_engine.errors import InvalidRequest
from tts_engine.library import Library
from tts_engine.synthesis import Style
from tts_engine.voices import VoiceInfo, speaker_names

T = TypeVar("T")

# About 95 minutes of speech. A caller with more text sends it in several requests on one stream.
MAX_TEXT_BYTES = 100_000
MIN_SAMPLE_RATE_HZ = 8_000
MAX_SAMPLE_RATE_HZ = 48_000

# What the model still turns into speech: beyond these it mumbles, stretches single phonemes or gives noise.
SCALES = {
    "length_scale": (0.25, 4.0),
    "noise_scale": (0.0, 2.0),
    "noise_w_scale": (0.0, 2.0),
}
SPEAKER = "speaker"
SEED = "seed"
START_SAMPLE = "start_sample"
ALIGNMENT = "alignment"
SAMPLE_FORMAT = "sample_format"
KEYS = (*SCALES, SPEAKER, SEED, START_SAMPLE, ALIGNMENT, SAMPLE_FORMAT)

MAX_WHOLE_NUMBER = 2**63 - 1

ENCODINGS = {
    riva.ENCODING_UNSPECIFIED: Encoding.PCM_S16LE,
    riva.LINEAR_PCM: Encoding.PCM_S16LE,
    riva.MULAW: Encoding.MULAW,
    riva.ALAW: Encoding.ALAW,
    riva.OGGOPUS: Encoding.OGG_OPUS,
}
SAMPLE_FORMATS = {"s16": Encoding.PCM_S16LE, "f32": Encoding.PCM_F32LE}


class Alignment(Enum):
    """Which units of the text `words` tells the times of. CHAR and WORD units, joined, are the text."""

    NONE = "none"
    WORD = "word"
    CHAR = "char"


@dataclass(frozen=True)
class SpeechRequest:
    """How to speak, from a request that was checked.

    `start_sample`: of the RPC's audio, the first that is wanted. `words_only`: units without the marks and
    the white space around them, as Riva gives them.
    """

    voice: VoiceInfo
    style: Style
    encoding: Encoding
    sample_rate_hz: int
    alignment: Alignment
    words_only: bool
    seed: int
    start_sample: int


def check(request: riva.SynthesizeSpeechRequest, library: Library) -> SpeechRequest:
    """Raises InvalidRequest or VoiceNotFound."""
    check_length(request)
    if request.custom_dictionary:
        raise InvalidRequest("custom_dictionary", request.custom_dictionary, "not supported, leave it empty")
    voice, speaker = library.describe(request.voice_name)
    _check_language(request.language_code, voice)
    configuration = request.custom_configuration
    for key in configuration:
        if key not in KEYS:
            raise InvalidRequest("custom_configuration's key", key, f"known are {', '.join(KEYS)}")
    alignment = _choice(ALIGNMENT, configuration, {each.value: each for each in Alignment})
    words_only = alignment is None and request.enable_word_time_offsets
    return SpeechRequest(
        voice=voice,
        style=_style(configuration, voice, speaker),
        encoding=_encoding(request),
        sample_rate_hz=_sample_rate_hz(request.sample_rate_hz, voice),
        alignment=Alignment.WORD if words_only else alignment or Alignment.NONE,
        words_only=words_only,
        seed=_whole_number(SEED, configuration),
        start_sample=_whole_number(START_SAMPLE, configuration),
    )


def check_length(request: riva.SynthesizeSpeechRequest) -> None:
    """Raises InvalidRequest."""
    text_bytes = len(request.text.encode())
    if text_bytes > MAX_TEXT_BYTES:
        raise InvalidRequest(
            "text's length", text_bytes, f"at most {MAX_TEXT_BYTES} bytes of UTF-8; send it in parts"
        )


def _encoding(request: riva.SynthesizeSpeechRequest) -> Encoding:
    if request.encoding not in ENCODINGS:
        names = {value: name for name, value in riva.AudioEncoding.items()}
        asked = names.get(request.encoding, str(request.encoding))
        allowed = ", ".join(names[value] for value in ENCODINGS if value)
        raise InvalidRequest("encoding", asked, f"supported are {allowed}")
    encoding = ENCODINGS[request.encoding]
    sample_format = _choice(SAMPLE_FORMAT, request.custom_configuration, SAMPLE_FORMATS)
    if sample_format is None:
        return encoding
    if encoding is not Encoding.PCM_S16LE:
        raise InvalidRequest(_key(SAMPLE_FORMAT), sample_format.value, "only LINEAR_PCM has a sample format")
    return sample_format


def _key(name: str) -> str:
    return f"custom_configuration[{name!r}]"


def _choice(key: str, configuration: Mapping[str, str], choices: Mapping[str, T]) -> T | None:
    if key not in configuration:
        return None
    if configuration[key] not in choices:
        raise InvalidRequest(_key(key), configuration[key], f"must be one of {', '.join(choices)}")
    return choices[configuration[key]]


def _whole_number(key: str, configuration: Mapping[str, str]) -> int:
    value = configuration.get(key, "0")
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else -1
    if not 0 <= number <= MAX_WHOLE_NUMBER:
        raise InvalidRequest(_key(key), value, f"must be a whole number from 0 to {MAX_WHOLE_NUMBER}")
    return number


def _check_language(code: str, voice: VoiceInfo) -> None:
    """The voice's own language, in either spelling ("en-US", "en_US"), or its first part ("en")."""
    asked, spoken = code.replace("_", "-").lower(), voice.language.lower()
    if asked and asked not in (spoken, spoken.partition("-")[0]):
        raise InvalidRequest("language_code", code, f"voice {voice.name} speaks {voice.language}")


def _sample_rate_hz(asked: int, voice: VoiceInfo) -> int:
    if asked == 0:
        return voice.sample_rate_hz
    if not MIN_SAMPLE_RATE_HZ <= asked <= MAX_SAMPLE_RATE_HZ:
        raise InvalidRequest(
            "sample_rate_hz",
            asked,
            f"must be {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ},"
            f" or 0 for the voice's own {voice.sample_rate_hz}",
        )
    return asked


def _style(configuration: Mapping[str, str], voice: VoiceInfo, speaker: str | None) -> Style:
    scales = {key: _scale(key, configuration[key]) for key in SCALES if key in configuration}
    speaker = configuration.get(SPEAKER, speaker)
    return Style(speaker=None if speaker is None else _speaker_id(speaker, voice), **scales)


def _scale(key: str, value: str) -> float:
    low, high = SCALES[key]
    try:
        scale = float(value)
    except ValueError:
        scale = math.nan
    if not low <= scale <= high:  # false for NaN, too
        raise InvalidRequest(_key(key), value, f"must be a number from {low} to {high}")
    return scale


def _speaker_id(speaker: str, voice: VoiceInfo) -> int:
    """By name, or by the model's number."""
    ids = voice.speakers.values()
    if speaker in voice.speakers:
        return voice.speakers[speaker]
    if speaker.isascii() and speaker.isdigit() and len(speaker) < 7 and int(speaker) in ids:
        return int(speaker)
    names = ", ".join(speaker_names(voice)[:20])
    raise InvalidRequest(
        _key(SPEAKER),
        speaker,
        f"voice {voice.name} has the speakers {names}{', …' if len(ids) > 20 else ''}"
        f" (numbers {min(ids)} to {max(ids)})",
    )
