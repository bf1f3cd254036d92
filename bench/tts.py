"""Speech load: so many people typing at once, each hearing what they type in real time."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.endpoint import Endpoint
from bench.errors import RequestFailed
from bench.health import ClientHealth, HealthMonitor, judge
from bench.interrupt import until_interrupted
from bench.quantiles import DEFINITION as QUANTILES
from bench.quantiles import summarise
from bench.report import Errors, count_errors
from bench.tts_client import TtsClient, connect
from bench.tts_protocol import Alignment, Done, Flushed, Frame, ServerError
from bench.tts_trace import SessionTrace
from bench.typing_plan import TypingPlan

# A player tells what it has played this often: far below the server's window of some seconds.
ACK_INTERVAL_S = 0.5

# After `end`, this long without audio or `done` means that none will come.
DONE_TIMEOUT_S = 15.0

SCENARIOS = ("baseline",)

DEFINITIONS = {
    "ttfa_commit_ms": (
        "sending of the character that completes an utterance's first speakable piece (a sentence; a clause "
        "of at least 8 or words of at least 48 characters, with the blank after it; or all, by its flush) → "
        "first frame"
    ),
    "ttfa_audible_ms": "the same, plus the silence that this audio begins with (until 10 ms with RMS > 0.01)",
    "char_to_sound_ms": "sending of a letter or digit → its sound as aligned, in a player without a buffer",
    "server_stall_ms": (
        "the player ran empty while committed text was unspoken; without alignment only where no text was "
        "committed during the silence"
    ),
    "server_stall_rate": "server stalls / speakable pieces typed",
    "input_starvation_ms": "the player ran empty with nothing left to say: typed too slowly, no failure",
    "frame_gap_ms": (
        "arrival interval of two frames − duration of the first, where no text was committed in between; "
        "above 0: later than real time"
    ),
    "quantiles": QUANTILES,
}


@dataclass(slots=True)
class TtsSession:
    """One connection: what it typed, what came, and whether it came to its own end."""

    trace: SessionTrace = field(default_factory=SessionTrace)
    finished: bool = False


@dataclass(slots=True)
class TtsRun:
    """A run as it grows: its sessions, how the client fared, what ended it early."""

    sessions: list[TtsSession] = field(default_factory=list)
    started_s: float = 0.0
    measured_s: float = 0.0
    health: ClientHealth = field(default_factory=lambda: judge([], 0.0, 0.0))
    interrupted_by: signal.Signals | None = None


async def check_reachable(endpoint: Endpoint) -> None:
    """Open and close one connection. Raises RequestFailed."""
    async with endpoint.session(None) as session, connect(session, endpoint.url):
        pass


async def run(endpoint: Endpoint, plans: list[TypingPlan], voice: str | None, result: TtsRun) -> None:
    """Type every plan on a connection of its own, into ``result``, until the end or an interrupt."""
    monitor = HealthMonitor()
    result.sessions = [TtsSession() for _ in plans]

    async def work() -> None:
        async with endpoint.session(None) as session, monitor, asyncio.TaskGroup() as group:
            result.started_s = time.perf_counter()
            for plan, own in zip(plans, result.sessions, strict=True):
                group.create_task(
                    _Typist(plan, own.trace, result.started_s).live(session, endpoint.url, voice, own)
                )

    result.interrupted_by = await until_interrupted(work())
    result.measured_s = time.perf_counter() - result.started_s
    result.health = monitor.health()


class _Typist:
    """One person at one connection."""

    def __init__(self, plan: TypingPlan, trace: SessionTrace, origin_s: float) -> None:
        self._plan = plan
        self._trace = trace
        self._origin_s = origin_s
        self._ended = False
        self._patience = asyncio.timeout(None)

    async def live(
        self, session: aiohttp.ClientSession, url: str, voice: str | None, own: TtsSession
    ) -> None:
        """Connect, type, listen, verify. A failure is in the trace, never raised."""
        await self._until(self._plan.start_s)
        try:
            async with connect(session, url) as client:
                await self._converse(client, voice)
            self._trace.failures += self._trace.verify()
        except* RequestFailed as group:
            self._trace.failures += [e for e in group.exceptions if isinstance(e, RequestFailed)][:1]
        own.finished = True

    async def _converse(self, client: TtsClient, voice: str | None) -> None:
        started = await client.start(voice, alignment="char")
        self._trace.open(started.sample_rate_hz)
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._type(client)), group.create_task(self._acknowledge(client))]
            await self._listen(client)
            for helper in helpers:
                helper.cancel()
        await client.close()

    async def _type(self, client: TtsClient) -> None:
        for key in self._plan.keystrokes():
            await self._until(key.at_s)
            self._trace.typed(time.perf_counter(), key.char)
            await client.text(key.char)
            if key.last:
                self._trace.flushed_here()
                await client.flush()
        await client.end()
        self._ended = True
        self._sign_of_life()

    def _sign_of_life(self) -> None:
        """While a person types, silence is theirs; after `end` it is the server's."""
        if self._ended:
            self._patience.reschedule(asyncio.get_running_loop().time() + DONE_TIMEOUT_S)

    async def _listen(self, client: TtsClient) -> None:
        try:
            async with self._patience:
                await self._record(client)
        except TimeoutError as error:
            waited = f"neither audio nor done for {DONE_TIMEOUT_S:.0f} s after end"
            raise RequestFailed("no_done", waited) from error

    async def _record(self, client: TtsClient) -> None:
        async for message in client.messages():
            now_s = time.perf_counter()
            self._sign_of_life()
            match message:
                case Frame():
                    self._trace.heard(now_s, message)
                case Alignment():
                    self._trace.alignments.append((now_s, message))
                case Flushed():
                    self._trace.flushed.append(message)
                case Done():
                    self._trace.done = message
                case ServerError():
                    self._trace.failures.append(RequestFailed(message.code, message.message))

    async def _acknowledge(self, client: TtsClient) -> None:
        acknowledged = 0
        while True:
            await asyncio.sleep(ACK_INTERVAL_S)
            played = self._trace.playout.played(time.perf_counter())
            if played > acknowledged:
                await client.ack(played)
                acknowledged = played

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, self._origin_s + at_s - time.perf_counter()))


def results(result: TtsRun) -> dict[str, Any]:
    """The metrics of a run, over all its sessions."""
    traces = [session.trace for session in result.sessions]
    opened = [trace for trace in traces if trace.rate_hz]
    ttfa = [pair for trace in opened for pair in trace.ttfa()]
    stalls = [gap.duration_ms for trace in opened for gap in trace.stalls()]
    pieces = sum(len(utterance) for trace in opened for utterance in trace.commits())
    return {
        "sessions": len(traces),
        "sessions_complete": sum(s.finished and not s.trace.failures for s in result.sessions),
        "sessions_with_alignment": sum(bool(trace.alignments) for trace in traces),
        "sessions_cut_by_interrupt": sum(not session.finished for session in result.sessions),
        "measured_s": round(result.measured_s, 3),
        "utterances": sum(len(trace.utterance_ends) for trace in traces),
        "speakable_pieces": pieces,
        "characters_typed": sum(len(trace.text) for trace in traces),
        "audio_s": round(sum(trace.audio_s for trace in traces), 3),
        "frames": sum(len(trace.arrivals) for trace in traces),
        "position_errors": sum(trace.position_errors() for trace in traces),
        "ttfa_commit_ms": summarise(first * 1000 for first, _ in ttfa),
        "ttfa_audible_ms": summarise(audible * 1000 for _, audible in ttfa if audible is not None),
        "char_to_sound_ms": summarise(lag * 1000 for trace in opened for lag in trace.char_lags_s()),
        "frame_gap_ms": summarise(gap * 1000 for trace in opened for gap in trace.frame_gaps_s()),
        "server_stalls": len(stalls),
        "server_stall_rate": round(len(stalls) / pieces, 6) if pieces else None,
        "server_stall_ms": summarise(stalls),
        "input_starvation_ms": summarise(gap.duration_ms for trace in opened for gap in trace.starvations()),
    }


def errors(result: TtsRun) -> Errors:
    """The failures of all sessions that came to an end of their own, by code."""
    return count_errors(session.trace.failures for session in result.sessions if session.finished)


def details(result: TtsRun) -> list[dict[str, Any]]:
    """Every session, in the order of the plan."""
    return [_detail(session) for session in result.sessions]


def _detail(session: TtsSession) -> dict[str, Any]:
    trace = session.trace
    return {
        "finished": session.finished,
        "characters_typed": len(trace.text),
        "audio_s": round(trace.audio_s, 3),
        "ttfa_commit_ms": [round(first * 1000, 3) for first, _ in trace.ttfa()],
        "server_stalls_ms": [round(gap.duration_ms, 3) for gap in trace.stalls()],
        "errors": [failure.kind for failure in trace.failures],
    }


def progress(result: TtsRun, duration_s: float) -> tuple[float, str]:
    """How much of the time is over (0 to 1), and what happened, in words."""
    elapsed_s = time.perf_counter() - result.started_s if result.started_s else 0.0
    traces = [session.trace for session in result.sessions]
    failed = sum(bool(trace.failures) for trace in traces)
    words = (
        f"{min(elapsed_s, duration_s):.0f}/{duration_s:.0f} s, {sum(len(t.text) for t in traces)} typed, "
        f"{sum(t.audio_s for t in traces):.0f} s of audio, {failed} failed"
    )
    return min(1.0, elapsed_s / duration_s), words
