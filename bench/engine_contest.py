"""The engine, stock piper and onnxruntime alone: started together, asked one at a time."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import engine_texts
from bench.engine_clients import BaselineClient, EngineClient, Heard
from bench.engine_measure import Rate, RatePair, snr_db
from bench.engine_plan import (
    HEADLINE_CHARACTERS,
    IDLE_LEAST,
    THROUGHPUT_CONCURRENCY,
    Load,
    Plan,
    block_s,
    requests_in,
)
from bench.engine_process import ServerProcess, running
from bench.engine_run import ALONE, OURS, STOCK, Cell, EngineRun, Exactness
from bench.engine_voice import Voice
from bench.errors import RequestFailed, Unreachable

# onnxruntime's default sessions let their threads spin for some ms after a run: the next server waits.
SETTLE_S = 0.05
# After a failure: a loop of them would only load the machine.
FAILED_PAUSE_S = 0.1
# How long a caller comes back when it is told to. A server that never lets it in ends the wait.
PATIENCE_S = 60.0

Speak = Callable[[str], Awaitable[Heard]]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What to measure: a running engine at ``target``, or, without, one that is started here."""

    voice: Voice
    target: str | None
    precision: str


def engine_command(options: EngineOptions, socket: Path) -> list[str]:
    """The engine as it is deployed, with one voice to speak by default, on a socket of its own."""
    command = [sys.executable, "-m", "tts_engine", "--listen", f"unix:{socket}", "--metrics", "127.0.0.1:0"]
    command += ["--voices", str(options.voice.directory), "--default-voice", options.voice.name]
    # Left out where it is the default, so that engines from before the flag can be measured too.
    return command if options.precision == "fp32" else [*command, "--precision", options.precision]


@asynccontextmanager
async def contest(options: EngineOptions, plan: Plan, result: EngineRun) -> AsyncIterator[Contest]:
    """All three, ready. Loading needs no quiet machine, so they load at the same time."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-engine-")))
        module = [sys.executable, "-m", "bench.engine_baselines"]
        processes: dict[str, ServerProcess] = {}
        if options.target is None:
            command = engine_command(options, directory / OURS)
            processes[OURS] = await stack.enter_async_context(running("the engine", command))
        for role, name in ((STOCK, "stock piper"), (ALONE, "onnxruntime alone")):
            command = [*module, role, str(options.voice.model), str(directory / role)]
            processes[role] = await stack.enter_async_context(running(name, command))
        if options.target is None:
            await processes[OURS].wait_ready()
        # Only now: gRPC's threads do not like a fork after them.
        ours = EngineClient(options.target or f"unix:{directory / OURS}", options.voice.name)
        stack.push_async_callback(ours.close)
        await _check(ours, options)
        for role in (STOCK, ALONE):
            await processes[role].wait_ready()
        stock, alone = BaselineClient(directory / STOCK), BaselineClient(directory / ALONE)
        yield Contest(options.voice, ours, stock, alone, processes, plan, result)


async def _check(ours: EngineClient, options: EngineOptions) -> None:
    """Raises Unreachable where it cannot be asked for that voice."""
    try:
        await ours.check()
    except RequestFailed as failure:
        raise _unusable(options, failure) from failure


def _unusable(options: EngineOptions, failure: RequestFailed) -> Unreachable:
    where = f"the engine at {options.target}" if options.target else "the engine"
    ways = {
        "unavailable": f"{where} does not answer: is it running, and is the address right?",
        "not_found": f"{where} has no voice {options.voice.name!r}: choose another with --voice",
    }
    return Unreachable(f"{ways.get(failure.kind, f'{where} cannot be used')}\n  ({failure})")


class Contest:
    """The three, one at a time."""

    def __init__(
        self,
        voice: Voice,
        ours: EngineClient,
        stock: BaselineClient,
        alone: BaselineClient,
        processes: dict[str, ServerProcess],
        plan: Plan,
        result: EngineRun,
    ) -> None:
        self._voice = voice
        self._ours = ours
        self._stock = stock
        self._alone = alone
        self._processes = processes
        self._plan = plan
        self._result = result
        self._speak: dict[str, Speak] = {OURS: ours.speak, STOCK: stock.speak}
        self._audio_s: dict[int, float] = {}
        self._rate_per_s = 1.0

    async def compare_samples(self) -> None:
        """The engine's samples against the whole graph's; also its warm-up, and how long the texts sound."""
        for characters in engine_texts.LENGTHS:
            for text in engine_texts.texts(characters, 0, self._plan.exactness_texts):
                self._result.phase = f"comparing samples, {characters} characters"
                await self._compare(characters, text)

    async def _compare(self, characters: int, text: str) -> None:
        ours, pieces = None, [text]
        try:
            ours, pieces = await self._ours.samples(text)
        except RequestFailed as failure:
            self._result.attempts.append([failure])
        reference = await self._alone.reference(pieces)
        self._audio_s[characters] = len(reference) / self._voice.sample_rate_hz
        if ours is not None:
            self._result.attempts.append([])
            self._result.exactness.append(Exactness(text, snr_db(reference, ours), len(ours), len(reference)))

    async def warm_up(self) -> None:
        """Stock speaks each length once; onnxruntime alone tells what the machine can do today."""
        self._result.phase = "warming up"
        for characters in engine_texts.LENGTHS:
            await self._stock.speak(engine_texts.VARIANTS[characters][-1])
        rate = await self._alone.rate(engine_texts.mixed(0, 1))
        self._rate_per_s = rate.per_s

    async def measure(self) -> None:
        """TTFA with one caller, with many, and the throughput."""
        await self._idle()
        plan = self._plan
        weights_left = plan.throughput_weight + sum(load.weight for load in plan.loads)
        for number, load in enumerate(plan.loads):
            await self._load(load, weights_left)
            weights_left -= load.weight
            if number == 0:  # the headline is whole before what only fills the picture
                await self._throughput(weights_left)
                weights_left -= plan.throughput_weight

    def note_memory(self) -> None:
        """Peaks so far."""
        self._result.peak_rss_mib = {
            name: round(process.peak_rss_mib, 1) for name, process in self._processes.items()
        }

    async def _idle(self) -> None:
        until_s = time.perf_counter() + self._plan.idle_s
        for characters, repeats in self._plan.idle.items():
            for number, text in enumerate(engine_texts.texts(characters, 0, repeats), 1):
                needed = characters == HEADLINE_CHARACTERS and number <= IDLE_LEAST
                if time.perf_counter() > until_s and not needed:
                    return
                self._result.phase = f"one caller, {characters} characters, {number}/{repeats}"
                pair = [await self._block(server, characters, 1, [text]) for server in (OURS, STOCK)]
                if characters == HEADLINE_CHARACTERS and all(pair):
                    self._result.pair_ratios.append(pair[1][0] / pair[0][0])

    async def _load(self, load: Load, weights_left: float) -> None:
        seconds = block_s(self._left_s(), load.weight, weights_left, 2 * load.rounds)
        audio_s = self._audio_s[load.characters]
        count = requests_in(seconds, self._rate_per_s, audio_s, load.concurrency)
        for number in range(load.rounds):
            texts = engine_texts.texts(load.characters, number * count, count)
            for server in (OURS, STOCK):
                self._result.phase = (
                    f"{load.concurrency} callers, {load.characters} characters, "
                    f"round {number + 1}/{load.rounds}, {server}"
                )
                await self._block(server, load.characters, load.concurrency, texts, seconds)

    async def _throughput(self, weights_left: float) -> None:
        rounds = self._plan.throughput_rounds
        own_s = block_s(self._left_s(), self._plan.throughput_weight, weights_left, 1)
        until_s = time.perf_counter() + own_s
        for number in range(rounds):
            seconds = block_s(until_s - time.perf_counter(), 1, 1, 2 * (rounds - number))
            units = requests_in(seconds, self._rate_per_s, engine_texts.mix_audio_s(self._audio_s), 1)
            texts = engine_texts.mixed(number, units)
            self._result.phase = f"throughput, round {number + 1}/{rounds}"
            await asyncio.sleep(SETTLE_S)
            cell = Cell()
            failed = await self.ask_all(OURS, cell, texts, THROUGHPUT_CONCURRENCY, None)
            self._check_alive()
            cpu_s = self._processes[ALONE].cpu_s
            alone = await self._alone.rate(texts)
            cpu_s = self._processes[ALONE].cpu_s - cpu_s
            self._rate_per_s = alone.per_s  # the machine may have slowed down since the last one
            if not failed:
                ours = Rate(cell.audio_s, cell.wall_s, cell.cpu_s)
                self._result.throughput.append(RatePair(ours, replace(alone, cpu_s=cpu_s)))

    def _left_s(self) -> float:
        return self._result.started_s + self._plan.measured_s - time.perf_counter()

    async def _block(
        self,
        server: str,
        characters: int,
        concurrency: int,
        texts: Sequence[str],
        limit_s: float | None = None,
    ) -> list[float]:
        """Let ``server`` alone speak ``texts``; the TTFA (ms) of those that were spoken."""
        await asyncio.sleep(SETTLE_S)
        cell = self._result.cells.setdefault((server, characters, concurrency), Cell())
        before = len(cell.ttfa_ms)
        await self.ask_all(server, cell, texts, concurrency, limit_s)
        self._check_alive()
        return cell.ttfa_ms[before:]

    async def ask_all(
        self, server: str, cell: Cell, texts: Sequence[str], concurrency: int, limit_s: float | None
    ) -> bool:
        """Closed loop: ``concurrency`` callers share ``texts``; True where one failed.

        After ``limit_s`` no caller takes another text, but each has asked once at least.
        """
        process, waiting = self._processes.get(server), iter(texts)
        cpu_s, started_s = process.cpu_s if process else 0.0, time.perf_counter()
        attempts = len(self._result.attempts)

        def until() -> Iterator[str]:
            for number, text in enumerate(waiting):
                over = limit_s is not None and time.perf_counter() > started_s + limit_s
                if over and number >= concurrency:
                    return
                yield text

        shared = until()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._caller(server, cell, shared))
        cell.wall_s += time.perf_counter() - started_s
        if process:
            cell.cpu_s = (cell.cpu_s or 0.0) + process.cpu_s - cpu_s
        return any(self._result.attempts[attempts:])

    async def _caller(self, server: str, cell: Cell, texts: Iterator[str]) -> None:
        for text in texts:
            heard = await self._heard(server, cell, text)
            cell.requests += 1
            cell.audio_s += heard.audio_s(self._voice.sample_rate_hz)
            if heard.failure is None and heard.ttfa_ms is None:
                heard.failure = RequestFailed("no_audio", f"{server} gave no audio for {text!r}")
            self._result.attempts.append([heard.failure] if heard.failure else [])
            if heard.failure:
                await asyncio.sleep(FAILED_PAUSE_S)
            elif heard.ttfa_ms is not None:
                cell.ttfa_ms.append(heard.ttfa_ms)

    async def _heard(self, server: str, cell: Cell, text: str) -> Heard:
        """Ask until let in, as often as the server says when to come back: the wait is in ``ttfa_ms``."""
        first_s = sent_s = time.perf_counter()
        while (heard := await self._speak[server](text)).retry_after_s and sent_s - first_s < PATIENCE_S:
            cell.turned_away += 1
            await asyncio.sleep(heard.retry_after_s)
            sent_s = time.perf_counter()
        if heard.ttfa_ms is not None:
            heard.ttfa_ms += (sent_s - first_s) * 1000
        return heard

    def _check_alive(self) -> None:
        for process in self._processes.values():
            process.check_alive()
