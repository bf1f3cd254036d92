"""One RPC's voice: segments of text in, encoded audio with its metadata out."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from riva_tts import riva_tts_pb2 as riva

from tts_engine.admission import Stream
from tts_engine.alignment import Unit, char_units, word_units
from tts_engine.audio import SILENCE, Resampler, Samples, resampled_length
from tts_engine.encodings import codec_rate, encoder
from tts_engine.model import Counts
from tts_engine.requests import Alignment, SpeechRequest
from tts_engine.synthesis import Speech, Utterance
from tts_engine.voices import Voice
from tts_engine.workshop import Workshop

T = TypeVar("T")
Meta = riva.SynthesizeSpeechResponseMetadata
Response = riva.SynthesizeSpeechResponse

_AROUND_A_WORD = re.compile(r"^\W+|\W+$")
NO_DURATIONS: Counts = np.zeros(0, np.int64)


class Speaker:
    """Speaks segments one after the other, as `request` says. `stream` is its place among all streams."""

    def __init__(self, workshop: Workshop, voice: Voice, request: SpeechRequest, stream: Stream) -> None:
        self._workshop = workshop
        self._voice = voice
        self._request = request
        self._stream = stream
        self._rate_hz = codec_rate(request.encoding, request.sample_rate_hz)
        self._encoder = encoder(request.encoding, self._rate_hz)
        self._metrics = workshop.metrics
        self._segment = 0
        self._made = 0  # samples at the output's rate, from the RPC's first one

    async def speak(self, text: str) -> AsyncGenerator[Response, None]:
        """The responses to one segment: `meta` on the first; its audio window by window."""
        self._stream.playback.expect(time.monotonic())
        self._metrics.characters.labels(self._voice.name).inc(len(text))
        meta = Meta(text=text, processed_text=text.replace("\0", "").strip())
        for number, utterance in enumerate(await self._utterances(text)):
            async for response in self._speak_utterance(utterance, number):
                meta.MergeFrom(response.meta)
                if response.audio:
                    yield Response(audio=response.audio, meta=meta)
                    meta = Meta()
        if meta.ByteSize():
            yield Response(meta=meta)
        self._segment += 1

    def finish(self) -> bytes:
        """What the encoder held, after the last segment."""
        return self._encoder.finish()

    async def _utterances(self, text: str) -> list[Utterance]:
        is_aligned = self._request.alignment is not Alignment.NONE
        return await self._workshop.utterances(self._voice, text, is_aligned=is_aligned)

    async def _speak_utterance(self, utterance: Utterance, number: int) -> AsyncGenerator[Response, None]:
        stream = self._stream
        stream.chars_left -= len(utterance.phonemes.text)
        if not utterance.ids.ids:
            yield Response(meta=self._meta(utterance, NO_DURATIONS))
            return
        speech, first = await self._run(partial(self._begin, utterance, number))
        audio_s = speech.n_samples / self._voice.sample_rate_hz
        self._workshop.admission.observe_text(len(utterance.phonemes.text), audio_s)
        yield Response(meta=self._meta(utterance, speech.durations))
        if not self._is_wanted(speech):
            self._made += self._output_length(speech)
            return
        async for samples in self._windows(speech, first):
            yield Response(audio=self._encoder.push(self._from_start(samples)))
        self._workshop.admission.observe_cost(speech.work_s, audio_s)
        self._metrics.rtf.labels(self._voice.name).observe(speech.work_s / audio_s)

    def _begin(self, utterance: Utterance, number: int) -> tuple[Speech, Samples]:
        """The encoder's run and, in the same job, the first window: it would wait for another's else."""
        seed = (self._request.seed, self._segment, number)
        speech = Speech(self._voice, utterance.ids.ids, self._request.style, seed)
        return speech, speech.next_window() if self._is_wanted(speech) else SILENCE

    def _is_wanted(self, speech: Speech) -> bool:
        """Whether any of it is behind the sample that the request starts with."""
        return self._made + self._output_length(speech) > self._request.start_sample

    def _output_length(self, speech: Speech) -> int:
        return resampled_length(speech.n_samples, self._voice.sample_rate_hz, self._rate_hz)

    async def _windows(self, speech: Speech, samples: Samples) -> AsyncGenerator[Samples, None]:
        """The utterance at the output's rate.

        Each utterance is resampled by itself: so its end does not wait for the next one's begin, and it can
        be made again alone, the same.
        """
        stream, rate_hz = self._stream, self._voice.sample_rate_hz
        resampler = Resampler(rate_hz, self._rate_hz)
        left = speech.n_samples
        try:
            while True:
                left -= len(samples)
                stream.audio_left_s = left / rate_hz
                self._observe_window(len(samples) / rate_hz)
                yield resampler.push(samples)
                if not left:
                    break
                samples = await self._run(speech.next_window)
        finally:
            stream.audio_left_s = 0.0
        yield resampler.finish()

    def _observe_window(self, audio_s: float) -> None:
        self._metrics.windows.labels(self._voice.name).inc()
        self._metrics.audio_s.labels(self._voice.name).inc(audio_s)
        if self._stream.playback.add(audio_s, time.monotonic()) > 0:
            self._metrics.deadlines_missed.inc()

    def _from_start(self, samples: Samples) -> Samples:
        """Without what is before the sample that the request starts with."""
        skipped = max(0, self._request.start_sample - self._made)
        self._made += len(samples)
        return samples[skipped:]

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._workshop.scheduler.run(work, self._stream.playback.deadline_s)

    def _meta(self, utterance: Utterance, durations: Counts | None) -> Meta:
        """The seconds of each phoneme id, and the units asked for with their times in the RPC's audio."""
        if durations is None:
            return Meta()
        words = [self._word(unit) for unit in self._units(utterance, durations)]
        return Meta(predicted_durations=(durations / self._voice.sample_rate_hz).tolist(), words=words)

    def _word(self, unit: Unit) -> riva.WordInfo:
        start, end = (
            self._made + resampled_length(at, self._voice.sample_rate_hz, self._rate_hz)
            for at in (unit.start, unit.end)
        )
        return riva.WordInfo(
            word=unit.text,
            start_time=round(1000 * start / self._rate_hz),
            end_time=round(1000 * end / self._rate_hz),
            start_sample=start,
            end_sample=end,
        )

    def _units(self, utterance: Utterance, durations: Counts) -> list[Unit]:
        if self._request.alignment is Alignment.NONE:
            return []
        align = char_units if self._request.alignment is Alignment.CHAR else word_units
        units = align(utterance.phonemes, utterance.ids, durations)
        return bare(units) if self._request.words_only else units


def bare(units: Sequence[Unit]) -> list[Unit]:
    """Words as Riva gives them: without the marks and the white space around them."""
    words = (replace(unit, text=_AROUND_A_WORD.sub("", unit.text)) for unit in units)
    return [word for word in words if word.text]
