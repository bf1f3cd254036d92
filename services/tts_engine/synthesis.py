"""A segment's text into utterances, and an utterance into audio. Blocking, so for worker threads only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tts_engine import logs
from tts_engine.alignment import PhonemeIds, phoneme_ids
from tts_engine.audio import SILENCE, Samples
from tts_engine.errors import SynthesisFailed
from tts_engine.model import Scales
from tts_engine.model_cache import MODEL_ERRORS
from tts_engine.phonemes import Phonemes, Phonemizer
from tts_engine.voices import Voice, trial_ids

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
    """One run of the model. Without ids it has text, but nothing to say."""

    phonemes: Phonemes
    ids: PhonemeIds


def utterances(phonemizer: Phonemizer, voice: Voice, text: str, *, is_aligned: bool) -> list[Utterance]:
    """What speaks `text`, in order; their texts, joined, are `text`.

    espeak keeps its state in the process and holds the interpreter's lock (172 ms for 100 kB): call with one
    segment at a time, from the phonemizer's thread. Raises SynthesisFailed.
    """
    config = voice.info.config
    try:
        phonemes = phonemizer.phonemize(config, text, is_aligned=is_aligned)
    except RuntimeError as error:  # espeak does not have the voice that the configuration names
        logs.error("phonemizing_failed", voice=voice.info.name, reason=error)
        raise SynthesisFailed(voice.info.name) from None
    parts = phonemes.parts(MAX_UTTERANCE_PHONEMES)
    return [Utterance(part, phoneme_ids(config, part.phonemes)) for part in parts]


class Speech:
    """One utterance while it is spoken. `work_s`: what it cost so far, in seconds of a thread."""

    def __init__(self, voice: Voice, ids: Sequence[int], style: Style, seed: Sequence[int]) -> None:
        """Run the encoder. Raises SynthesisFailed."""
        self.work_s = 0.0
        self._voice = voice
        with self._measured():
            rendering = voice.model.render(ids, _scales(style, voice), style.speaker, seed)
        self.durations = rendering.durations
        self.n_samples = rendering.n_samples
        self._windows = rendering.windows()

    def next_window(self) -> Samples:
        """The next samples, at the voice's rate; none after the last window. Raises SynthesisFailed."""
        with self._measured():
            return next(self._windows, SILENCE)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        except MODEL_ERRORS as error:
            logs.error("synthesis_failed", voice=self._voice.info.name, reason=error)
            raise SynthesisFailed(self._voice.info.name) from None
        finally:
            self.work_s += time.perf_counter() - begin


def _scales(style: Style, voice: Voice) -> Scales:
    config = voice.info.config
    return Scales(
        noise=config.noise_scale if style.noise_scale is None else style.noise_scale,
        length=config.length_scale if style.length_scale is None else style.length_scale,
        noise_w=config.noise_w_scale if style.noise_w_scale is None else style.noise_w_scale,
    )


def trial(voice: Voice) -> tuple[float, float]:
    """Speak some of the voice's phonemes. Returns seconds of work, and of audio. Raises SynthesisFailed."""
    work_s = audio_s = 0.0
    for _ in range(2):  # the first run of a graph allocates
        speech = Speech(voice, trial_ids(voice.info.config), Style(), (0,))
        while len(speech.next_window()):
            pass
        work_s, audio_s = speech.work_s, speech.n_samples / voice.sample_rate_hz
    return work_s, audio_s
