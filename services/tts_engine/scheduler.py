"""Synthesis threads, and which stream's work they take next: the one whose listener runs out of audio first.

A job is an encoder's run or one window, 10 to 50 ms, and is not interrupted: so long does a cancel take, and
so long does a new stream wait for a thread. A stream has one job in here at a time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tts_engine.metrics import Metrics

T = TypeVar("T")

# How much nicer synthesis threads are than the one that moves bytes, whose 50 µs must not wait for a window.
# Higher, and any other busy process of the host takes their time: at 10 it gets nine times as much of a core.
SYNTHESIS_NICE = 2


@dataclass(order=True)
class _Job:
    deadline_s: float
    number: int
    work: Callable[[], Any] = field(compare=False)
    future: Future[Any] = field(compare=False)


class Scheduler:
    """`threads` threads, earliest deadline first."""

    def __init__(self, threads: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._jobs: list[_Job] = []
        self._numbers = itertools.count()  # of two equal deadlines the older job goes first
        self._wake = threading.Condition()
        self._is_closed = False
        self._threads = [threading.Thread(target=self._work, name=f"synthesis-{n}") for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[], T], deadline_s: float) -> T:
        """Run `work` on a thread. Cancelled while it waits, it is never begun; else it ends unheard."""
        future: Future[T] = Future()
        with self._wake:
            if self._is_closed:
                raise asyncio.CancelledError
            heapq.heappush(self._jobs, _Job(deadline_s, next(self._numbers), work, future))
            self._metrics.jobs_queued.set(len(self._jobs))
            self._wake.notify()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for the jobs that run; those that wait are cancelled."""
        with self._wake:
            self._is_closed = True
            for job in self._jobs:
                job.future.cancel()
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        # On Linux a thread has a nice value of its own. A sandbox may forbid it: then all are equal.
        with suppress(PermissionError):
            own = os.getpriority(os.PRIO_PROCESS, os.getpid())
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + SYNTHESIS_NICE)
        while (job := self._next()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                job.future.set_result(job.work())
            except Exception as error:
                job.future.set_exception(error)

    def _next(self) -> _Job | None:
        with self._wake:
            while not self._jobs and not self._is_closed:
                self._wake.wait()
            if self._is_closed:
                return None
            job = heapq.heappop(self._jobs)
            self._metrics.jobs_queued.set(len(self._jobs))
            return job
