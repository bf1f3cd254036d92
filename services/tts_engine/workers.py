"""Threads that phonemize and synthesize, and the limit on what may wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from tts_engine.errors import Overloaded
from tts_engine.metrics import Metrics
from tts_engine.synthesis import Speech, Style, Utterance, phonemize, synthesize
from tts_engine.voices import Voice

# The hint for a caller turned away: sooner than the first only adds load, later than the second keeps the
# caller from a machine that is free again.
MIN_RETRY_AFTER_MS = 100
MAX_RETRY_AFTER_MS = 10_000
# What one job takes before any was measured: a sentence of 60 characters on a slow core.
FIRST_JOB_GUESS_S = 0.5
# Weight of the newest job in the running mean: about the last twenty jobs count.
JOB_MEAN_WEIGHT = 0.1


class Workers:
    """`threads` synthesis threads, one phonemizer thread (espeak's state is the process's), bounded texts.

    Jobs run in the order they come. A stream has one job at a time in here, so streams take turns.
    """

    def __init__(self, threads: int, max_pending: int, metrics: Metrics) -> None:
        self._threads = threads
        self._max_pending = max_pending
        self._metrics = metrics
        self._pending = 0
        self._mean_job_s = FIRST_JOB_GUESS_S
        self._phonemizer = ThreadPoolExecutor(1, "phonemizer")
        self._synthesis = ThreadPoolExecutor(threads, "synthesis")

    @contextmanager
    def place(self, *, may_refuse: bool) -> Iterator[None]:
        """Hold a place for one text. Raises Overloaded where all are taken and `may_refuse`.

        A stream that was let in once is not refused in the middle of its text: it has one text in work at
        most, so what waits stays bounded by the streams there are.
        """
        if may_refuse and self._pending >= self._max_pending:
            raise Overloaded(self._pending, self._retry_after_ms())
        self._pending += 1
        self._metrics.pending.set(self._pending)
        try:
            yield
        finally:
            self._pending -= 1
            self._metrics.pending.set(self._pending)

    def _retry_after_ms(self) -> int:
        """When each text that waits has had one job done."""
        wait_s = self._pending * self._mean_job_s / self._threads
        return round(min(max(wait_s * 1000, MIN_RETRY_AFTER_MS), MAX_RETRY_AFTER_MS))

    async def phonemize(self, voice: Voice, text: str) -> list[Utterance]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._phonemizer, phonemize, voice, text)

    async def synthesize(self, voice: Voice, utterance: Utterance, style: Style) -> Speech:
        """Speak one utterance. Cancelled while it waits for a thread, it is never begun; else it ends."""
        queued = self._metrics.jobs_queued

        def job() -> Speech:
            queued.dec()
            begin = time.perf_counter()
            speech = synthesize(voice, utterance, style)
            self._observe(voice, speech, time.perf_counter() - begin)
            return speech

        def dropped(future: Future[Speech]) -> None:
            if future.cancelled():
                queued.dec()

        queued.inc()
        future = self._synthesis.submit(job)
        future.add_done_callback(dropped)
        return await asyncio.wrap_future(future)

    def _observe(self, voice: Voice, speech: Speech, seconds: float) -> None:
        # On the worker's thread, so that work whose caller has left is counted too. Two threads may overwrite
        # each other's running mean: it loses one job of many.
        audio_s = len(speech.samples) / voice.sample_rate_hz
        self._mean_job_s += JOB_MEAN_WEIGHT * (seconds - self._mean_job_s)
        self._metrics.synthesis_s.labels(voice.name).observe(seconds)
        self._metrics.audio_s.labels(voice.name).inc(audio_s)
        if audio_s:
            self._metrics.rtf.labels(voice.name).observe(seconds / audio_s)

    def close(self) -> None:
        """Wait for the jobs that run, drop those that wait."""
        for executor in (self._phonemizer, self._synthesis):
            executor.shutdown(wait=True, cancel_futures=True)
