"""A segment's text into phonemes, and phonemes into audio. Blocking, so for worker threads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from piper.config import SynthesisConfig

from tts_engine import logs
from tts_engine.audio import Samples
from tts_engine.errors import SynthesisFailed
from tts_engine.voices import ORT_ERRORS, Voice

# A number of 200 digits is 200 characters of text and thousands of phonemes. The encoder's cost grows faster
# than the length (0.25 ms per id at 400 ids, 0.66 at 2000), and each phoneme is two ids: itself and a pad.
MAX_UTTERANCE_PHONEMES = 200


@dataclass(frozen=True)
class Style:
    """How to speak. None takes the voice's own value; `speaker` is the model's id."""

    length_scale: float | None = None
    noise_scale: float | None = None
    noise_w_scale: float | None = None
    speaker: int | None = None


@dataclass(frozen=True)
class Utterance:
    """One run of the model: its phoneme ids, with begin, end and pads."""

    phoneme_ids: Sequence[int]


@dataclass(frozen=True)
class Speech:
    """One utterance, spoken at the voice's own rate.

    `durations_s` is `(n_phoneme_ids,) float32` in seconds, summing to the audio's length; None where the
    voice's graph does not tell.
    """

    samples: Samples
    durations_s: npt.NDArray[np.float32] | None


def phonemize(voice: Voice, text: str) -> list[Utterance]:
    """The utterances that speak `text`, in order; none where there is nothing to say.

    espeak keeps its state in the process and holds the interpreter's lock (172 ms for 100 kB): call with one
    segment at a time, from one thread.
    """
    sentences = [sentence for sentence in voice.piper.phonemize(text) if sentence]
    return [
        Utterance(voice.piper.phonemes_to_ids(list(part)))
        for part in _parts(_joined(sentences))
        if any(phoneme.isalnum() for phoneme in part)
    ]


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


def _parts(phonemes: Sequence[str]) -> Iterator[Sequence[str]]:
    while len(phonemes) > MAX_UTTERANCE_PHONEMES:
        head = phonemes[:MAX_UTTERANCE_PHONEMES]
        spaces = [index + 1 for index, phoneme in enumerate(head) if phoneme == " "]
        cut = spaces[-1] if spaces else MAX_UTTERANCE_PHONEMES
        yield phonemes[:cut]
        phonemes = phonemes[cut:]
    yield phonemes


def synthesize(voice: Voice, utterance: Utterance, style: Style) -> Speech:
    """Speak one utterance, whole. Raises SynthesisFailed."""
    config = SynthesisConfig(
        speaker_id=style.speaker,
        length_scale=style.length_scale,
        noise_scale=style.noise_scale,
        noise_w_scale=style.noise_w_scale,
    )
    try:
        result = voice.piper.phoneme_ids_to_audio(list(utterance.phoneme_ids), config, voice.has_durations)
    except ORT_ERRORS as error:
        logs.error("synthesis_failed", voice=voice.name, reason=error)
        raise SynthesisFailed(voice.name) from None
    samples, durations = result if isinstance(result, tuple) else (result, None)
    return Speech(
        samples=np.atleast_1d(samples).astype(np.float32, copy=False),
        durations_s=None if durations is None else _seconds(np.atleast_1d(durations), voice.sample_rate_hz),
    )


def _seconds(samples: npt.NDArray[np.int64], sample_rate_hz: int) -> npt.NDArray[np.float32]:
    return (samples / sample_rate_hz).astype(np.float32)
