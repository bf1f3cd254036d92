"""Which work goes first, with threads that are held up on purpose."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tts_engine.metrics import Metrics
from tts_engine.scheduler import SYNTHESIS_NICE, Scheduler


@asynccontextmanager
async def held(threads: int = 1) -> AsyncIterator[tuple[Scheduler, threading.Event]]:
    """A scheduler all of whose threads are in a job until the event is set."""
    scheduler = Scheduler(threads, Metrics())
    gate, begun = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        begun.release()
        gate.wait()

    jobs = [asyncio.ensure_future(scheduler.run(wait, 0.0)) for _ in range(threads)]
    await asyncio.to_thread(lambda: [begun.acquire() for _ in range(threads)])
    try:
        yield scheduler, gate
    finally:
        gate.set()
        await asyncio.gather(*jobs, return_exceptions=True)
        scheduler.close()


async def test_earliest_deadline_first_and_then_the_older() -> None:
    order: list[str] = []
    async with held() as (scheduler, gate):
        jobs = [
            asyncio.ensure_future(scheduler.run(lambda name=name: order.append(name), deadline_s))  # type: ignore[misc]  # append returns None
            for name, deadline_s in (("late", 3.0), ("soon", 1.0), ("soon too", 1.0), ("later", 9.0))
        ]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*jobs)
    assert order == ["soon", "soon too", "late", "later"]


async def test_what_is_cancelled_while_it_waits_is_never_begun() -> None:
    done: list[int] = []
    async with held() as (scheduler, gate):
        dropped = asyncio.ensure_future(scheduler.run(lambda: done.append(1), 1.0))
        kept = asyncio.ensure_future(scheduler.run(lambda: done.append(2), 2.0))
        await asyncio.sleep(0)
        dropped.cancel()
        await asyncio.sleep(0)
        gate.set()
        await kept
    assert done == [2]
    assert dropped.cancelled()


async def test_results_and_errors_come_back() -> None:
    scheduler = Scheduler(2, Metrics())
    try:
        assert await asyncio.gather(*(scheduler.run(lambda n=n: n * n, 0.0) for n in range(50))) == [  # type: ignore[misc]
            n * n for n in range(50)
        ]
        with pytest.raises(ZeroDivisionError):
            await scheduler.run(lambda: 1 // 0, 0.0)
        assert await scheduler.run(lambda: 7, 0.0) == 7  # its thread lives on
    finally:
        scheduler.close()


async def test_synthesis_is_nicer_than_what_moves_bytes() -> None:
    scheduler = Scheduler(1, Metrics())
    try:
        thread = await scheduler.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), 0.0)
    finally:
        scheduler.close()
    assert thread == os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + SYNTHESIS_NICE


async def test_closing_drops_what_waits() -> None:
    async with held() as (scheduler, gate):
        waiting = asyncio.ensure_future(scheduler.run(lambda: 1, 1.0))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(asyncio.to_thread(scheduler.close))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        await closing
