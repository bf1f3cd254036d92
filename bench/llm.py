"""Closed-loop load on a chat server: so many users, each asking again as soon as it has its answer."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from bench.chat import ChatClient, ChatStream, Usage
from bench.endpoint import Endpoint
from bench.errors import RequestFailed, UsageError
from bench.health import ClientHealth, HealthMonitor, judge
from bench.interrupt import until_interrupted
from bench.prompts import Request, choose
from bench.quantiles import DEFINITION as QUANTILES
from bench.quantiles import summarise
from bench.report import Errors, count_errors

DEFINITIONS = {
    "ttft_ms": "sending of the request → first non-empty fragment of any kind (text, reasoning, tool call)",
    "ttfo_ms": "sending of the request → first visible text",
    "tpot_ms": "(last − first fragment time) / (output tokens by the server's usage − 1), per request",
    "e2e_ms": "sending of the request → end of the stream",
    "chunk_gap_ms": "time between two fragments of one answer; a fragment may hold several tokens",
    "request_rate_per_s": "complete answers / measured time, first send → last end",
    "output_token_rate_per_s": "output tokens of complete answers / measured time",
    "quantiles": QUANTILES,
    "load": "closed loop: a stalled server is asked less, so its stalls weigh less than under open arrivals",
}


@dataclass(frozen=True, slots=True)
class LlmOptions:
    """What to ask: ``total`` requests, ``concurrency`` at a time, after ``warmup`` that are not counted."""

    model: str
    concurrency: int
    total: int
    warmup: int
    max_tokens: int
    timeout_s: float
    seed: int


@dataclass(slots=True)
class RequestRecord:
    """One request: times in ms from its sending, counts by the server's usage, or the failure."""

    prompt: int
    start_s: float
    end_s: float = 0.0
    ttft_ms: float | None = None
    ttfo_ms: float | None = None
    tpot_ms: float | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    failure: RequestFailed | None = None
    fragment_times_s: list[float] = field(default_factory=list)

    @property
    def e2e_ms(self) -> float | None:
        """Sending → end of a complete answer."""
        return None if self.failure else _ms(self.end_s - self.start_s)

    def chunk_gaps_ms(self) -> Iterator[float]:
        """Times between the fragments."""
        times = self.fragment_times_s
        return ((later - earlier) * 1000 for earlier, later in pairwise(times))

    def detail(self, origin_s: float) -> dict[str, Any]:
        """The record as plain data, its start told from ``origin_s``."""
        return {
            "start_s": round(self.start_s - origin_s, 6),
            "prompt": self.prompt,
            "ttft_ms": self.ttft_ms,
            "ttfo_ms": self.ttfo_ms,
            "tpot_ms": self.tpot_ms,
            "e2e_ms": self.e2e_ms,
            "fragments": len(self.fragment_times_s),
            "usage": self.usage,
            "finish_reason": self.finish_reason,
            "error": self.failure.kind if self.failure else None,
        }


async def ask(client: ChatClient, body: Request, prompt: int) -> RequestRecord:
    """Send one request and time its answer. A failure is in the record, never raised."""
    state = ChatStream()
    record = RequestRecord(prompt, time.perf_counter())
    try:
        async for fragment in client.stream(body, state):
            since_ms = _ms(fragment.at_s - record.start_s)
            if not record.fragment_times_s:
                record.ttft_ms = since_ms
            if fragment.text and record.ttfo_ms is None:
                record.ttfo_ms = since_ms
            record.fragment_times_s.append(fragment.at_s)
    except RequestFailed as failure:
        record.failure = failure
    record.end_s = time.perf_counter()
    record.usage, record.finish_reason = state.usage, state.finish_reason
    record.tpot_ms = _tpot_ms(record)
    return record


def _tpot_ms(record: RequestRecord) -> float | None:
    times = record.fragment_times_s
    if record.failure or record.usage is None or record.usage.output_tokens < 2 or len(times) < 2:
        return None
    return _ms((times[-1] - times[0]) / (record.usage.output_tokens - 1))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


@dataclass(slots=True)
class LlmRun:
    """A run as it grows: what was sent, what came back, how the client fared, what ended it early."""

    records: list[RequestRecord] = field(default_factory=list)
    sent: int = 0
    health: ClientHealth = field(default_factory=lambda: judge([], 0.0, 0.0))
    interrupted_by: signal.Signals | None = None


async def choose_model(client: ChatClient, asked: str | None) -> tuple[str, list[str]]:
    """The model to use and all that are offered. Raises RequestFailed, and UsageError where there is none."""
    try:
        offered = await client.models()
    except RequestFailed as failure:
        if asked is None or failure.kind != "http_404":
            raise
        return asked, []  # a server may serve chat alone; then the name is taken on trust
    if asked is None and not offered:
        raise UsageError("the server offers no model: name one with --model")
    return asked or offered[0], offered


async def run(endpoint: Endpoint, requests: list[Request], options: LlmOptions, result: LlmRun) -> None:
    """Warm up, then measure into ``result``. An interrupt ends it early with the records there are."""
    monitor = HealthMonitor()

    async def work() -> None:
        async with endpoint.session(options.timeout_s) as session:
            client = ChatClient(session, endpoint.url)
            await _warm_up(client, requests, options)
            async with monitor:
                await _measure(client, requests, options, result)

    result.interrupted_by = await until_interrupted(work())
    result.health = monitor.health()


async def _warm_up(client: ChatClient, requests: list[Request], options: LlmOptions) -> None:
    order = iter(choose(requests, options.warmup, options.seed + 1))

    async def user() -> None:
        for index in order:
            await ask(client, _body(requests[index], options), index)

    await _together(user, min(options.concurrency, options.warmup))


async def _measure(client: ChatClient, requests: list[Request], options: LlmOptions, result: LlmRun) -> None:
    order = iter(choose(requests, options.total, options.seed))

    async def user() -> None:
        for index in order:
            result.sent += 1
            result.records.append(await ask(client, _body(requests[index], options), index))

    await _together(user, options.concurrency)


async def _together(user: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(user())


def _body(request: Request, options: LlmOptions) -> Request:
    return {"max_tokens": options.max_tokens, **request, "model": options.model}


def results(result: LlmRun) -> dict[str, Any]:
    """The metrics of a run: rates over the measured time, distributions over complete answers."""
    complete = [record for record in result.records if record.failure is None]
    counted = [record.usage for record in complete if record.usage is not None]
    wall_s = _wall_s(result.records)
    output_tokens = sum(usage.output_tokens for usage in counted) if counted else None
    return {
        "requests_sent": result.sent,
        "requests_complete": len(complete),
        "requests_without_usage": len(complete) - len(counted),
        "requests_cut_by_interrupt": result.sent - len(result.records),
        "measured_s": round(wall_s, 3),
        "request_rate_per_s": _rate(len(complete), wall_s),
        "input_tokens": sum(usage.input_tokens for usage in counted) if counted else None,
        "output_tokens": output_tokens,
        "cached_tokens": _cached(counted),
        "output_token_rate_per_s": _rate(output_tokens, wall_s),
        "ttft_ms": summarise(r.ttft_ms for r in complete if r.ttft_ms is not None),
        "ttfo_ms": summarise(r.ttfo_ms for r in complete if r.ttfo_ms is not None),
        "tpot_ms": summarise(r.tpot_ms for r in complete if r.tpot_ms is not None),
        "e2e_ms": summarise(r.e2e_ms for r in complete if r.e2e_ms is not None),
        "chunk_gap_ms": summarise(gap for record in complete for gap in record.chunk_gaps_ms()),
        "output_tokens_per_request": summarise(float(usage.output_tokens) for usage in counted),
    }


def errors(result: LlmRun) -> Errors:
    """The failures of a run, by kind."""
    return count_errors([record.failure] if record.failure else [] for record in result.records)


def details(result: LlmRun) -> list[dict[str, Any]]:
    """Every request in the order of its start."""
    records = sorted(result.records, key=lambda record: record.start_s)
    return [record.detail(records[0].start_s) for record in records]


def _wall_s(records: list[RequestRecord]) -> float:
    return max(r.end_s for r in records) - min(r.start_s for r in records) if records else 0.0


def _rate(count: int | None, wall_s: float) -> float | None:
    return round(count / wall_s, 3) if count is not None and wall_s > 0 else None


def _cached(counted: list[Usage]) -> int | None:
    told = [usage.cached_tokens for usage in counted if usage.cached_tokens is not None]
    return sum(told) if told else None


def progress(result: LlmRun, options: LlmOptions) -> tuple[float, str]:
    """How much is done (0 to 1), and in words."""
    done, failed = len(result.records), sum(1 for record in result.records if record.failure)
    stage = "warming up" if result.sent == 0 else f"{done}/{options.total} answers"
    return done / options.total, f"{stage}, {failed} failed"
