"""Checks: a request as it came becomes one that can be spoken, or an error that names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from riva_tts import riva_tts_pb2 as riva

from tts_engine.errors import InvalidRequest
from tts_engine.synthesis import Style
from tts_engine.voices import Catalogue, Voice, speaker_names

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


@dataclass(frozen=True)
class SpeechRequest:
    """A request that was checked."""

    text: str
    voice: Voice
    style: Style
    sample_rate_hz: int


def check(request: riva.SynthesizeSpeechRequest, catalogue: Catalogue) -> SpeechRequest:
    """Raises InvalidRequest or VoiceNotFound."""
    text_bytes = len(request.text.encode())
    if text_bytes > MAX_TEXT_BYTES:
        raise InvalidRequest(
            "text's length", text_bytes, f"at most {MAX_TEXT_BYTES} bytes of UTF-8; send it in parts"
        )
    if request.encoding not in (riva.ENCODING_UNSPECIFIED, riva.LINEAR_PCM):
        raise InvalidRequest("encoding", _encoding_name(request.encoding), "only LINEAR_PCM is supported")
    if request.custom_dictionary:
        raise InvalidRequest("custom_dictionary", request.custom_dictionary, "not supported, leave it empty")
    voice, speaker = catalogue.find(request.voice_name)
    _check_language(request.language_code, voice)
    return SpeechRequest(
        text=request.text,
        voice=voice,
        style=_style(request.custom_configuration, voice, speaker),
        sample_rate_hz=_sample_rate_hz(request.sample_rate_hz, voice),
    )


def _encoding_name(number: int) -> str:
    names = {value: name for name, value in riva.AudioEncoding.items()}
    return names.get(riva.AudioEncoding.ValueType(number), str(number))


def _check_language(code: str, voice: Voice) -> None:
    """The voice's own language, in either spelling ("en-US", "en_US"), or its first part ("en")."""
    asked, spoken = code.replace("_", "-").lower(), voice.language.lower()
    if asked and asked not in (spoken, spoken.partition("-")[0]):
        raise InvalidRequest("language_code", code, f"voice {voice.name} speaks {voice.language}")


def _sample_rate_hz(asked: int, voice: Voice) -> int:
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


def _style(configuration: Mapping[str, str], voice: Voice, speaker: str | None) -> Style:
    known = (*SCALES, SPEAKER)
    for key in configuration:
        if key not in known:
            raise InvalidRequest("custom_configuration's key", key, f"known are {', '.join(known)}")
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
        raise InvalidRequest(
            f"custom_configuration[{key!r}]", value, f"must be a number from {low} to {high}"
        )
    return scale


def _speaker_id(speaker: str, voice: Voice) -> int:
    """By name, or by the model's number."""
    ids = voice.speakers.values()
    if speaker in voice.speakers:
        return voice.speakers[speaker]
    if speaker.isascii() and speaker.isdigit() and len(speaker) < 7 and int(speaker) in ids:
        return int(speaker)
    names = ", ".join(speaker_names(voice)[:20])
    raise InvalidRequest(
        f"custom_configuration[{SPEAKER!r}]",
        speaker,
        f"voice {voice.name} has the speakers {names}{', …' if len(ids) > 20 else ''}"
        f" (numbers {min(ids)} to {max(ids)})",
    )
