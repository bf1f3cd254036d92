"""What all streams of a process share: threads, places, metrics."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tts_engine.admission import Admission
from tts_engine.metrics import Metrics
from tts_engine.phonemes import Phonemizer
from tts_engine.scheduler import Scheduler
from tts_engine.synthesis import Utterance, trial, utterances
from tts_engine.voices import Voice


class Workshop:
    def __init__(self, threads: int, max_streams: int, metrics: Metrics) -> None:
        self._threads = threads
        self.scheduler = Scheduler(threads, metrics)
        self.admission = Admission(threads, max_streams)
        self.metrics = metrics
        self._phonemizer = Phonemizer()
        self._phonemizer_thread = ThreadPoolExecutor(1, "phonemizer")  # espeak's state is the process's
        metrics.streams.set_function(lambda: self.admission.n_streams)
        metrics.capacity.set_function(lambda: self.admission.capacity)

    async def utterances(self, voice: Voice, text: str, *, is_aligned: bool) -> list[Utterance]:
        loop = asyncio.get_running_loop()
        work = partial(utterances, self._phonemizer, voice, text, is_aligned=is_aligned)
        return await loop.run_in_executor(self._phonemizer_thread, work)

    async def measure(self, voice: Voice) -> None:
        """Speak a trial on every thread: so admission knows the speed of this host, and all is compiled."""
        trials = [self.scheduler.run(partial(trial, voice), time.monotonic()) for _ in range(self._threads)]
        spoken = await asyncio.gather(*trials)
        self.admission.cost = sum(work_s for work_s, _ in spoken) / sum(audio_s for _, audio_s in spoken)

    def close(self) -> None:
        """Wait for the work that runs, drop the work that waits."""
        self.scheduler.close()
        self._phonemizer_thread.shutdown(wait=True, cancel_futures=True)
