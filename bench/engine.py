"""The speech engine against stock piper-tts and against onnxruntime alone, in one run, taking turns."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from typing import Any

from bench import engine_texts
from bench.engine_contest import EngineOptions, contest
from bench.engine_plan import Plan
from bench.engine_run import EngineRun
from bench.health import HealthMonitor
from bench.interrupt import until_interrupted

SERVER_PACKAGES = ("piper-tts", "onnxruntime", "numpy", "grpcio")

DEFINITIONS = {
    "ttfa_ms": (
        "sending of the request → first audio in the client's hand; the client takes all of the audio. A "
        "caller that is turned away and told when to come back does so, and its time runs on"
    ),
    "turned_away": "how often that was (gRPC's RESOURCE_EXHAUSTED with retry-after-ms); no failure",
    "ttfa_ratio_60": (
        "stock / ours: medians of TTFA, one caller, sentences of 60 characters, the same text to both in turn"
    ),
    "ttfa_p95_ratio_c8": (
        "stock / ours: p95 of TTFA, 8 callers back to back, sentences of 60 characters, rounds in turn"
    ),
    "throughput_ratio": (
        "ours / onnxruntime alone: audio seconds per second, 8 callers back to back, the same texts "
        f"({engine_texts.MIXED}), rounds in turn; the median of the rounds' ratios"
    ),
    "snr_db": (
        "10 log10(sum ref² / sum (ref − ours)²) of the engine's 32-bit audio, without noise, against the "
        "whole graph in onnxruntime; the lowest of the texts; 200 is identical"
    ),
    "stock": (
        "piper-tts' PiperVoice with its default session options behind a unix socket, a thread a request, "
        "each sentence sent as soon as piper gives it; piper's own HTTP server, with the same threads and "
        "work, sends nothing before the last sentence"
    ),
    "alone": (
        "onnxruntime runs of the voice's whole graph, one thread a run and a core each, phonemes prepared; "
        "no server"
    ),
    "cpu_s_per_audio_s": (
        "CPU seconds of the server's process, user and system, per second of audio, in the load of "
        "ttfa_p95_ratio_c8; throughput_cpu_s_per_audio_s: in the rounds of throughput_ratio. Other load on "
        "the machine hardly moves it"
    ),
    "peak_rss_mib": "the most memory the server's process has held, over the whole run",
    "p95": "the sample's own quantile, with n beside it: below n = 130 a few slow requests decide it",
}


async def run(options: EngineOptions, plan: Plan, result: EngineRun) -> None:
    """Start what is compared, measure into ``result``, stop it all: at the end, an interrupt or an error.

    Raises Unreachable where a server does not start, or ends before the run does.
    """
    monitor = HealthMonitor()

    async def work() -> None:
        async with contest(options, plan, result) as servers:
            await servers.compare_samples()
            await servers.warm_up()
            async with monitor:
                await servers.measure()
            servers.note_memory()

    result.interrupted_by = await until_interrupted(work())
    result.measured_s = time.perf_counter() - result.started_s
    result.health = monitor.health()


def environment(options: EngineOptions) -> dict[str, Any]:
    """What this comparison hangs on besides the usual fingerprint."""
    return {
        "voice": options.voice.name,
        "voice_sha256": options.voice.sha256(),
        "server_versions": {name: version(name) for name in SERVER_PACKAGES},
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def progress(result: EngineRun, plan: Plan) -> tuple[float, str]:
    """How much of the time is over (0 to 1), and what is being measured."""
    elapsed_s = time.perf_counter() - result.started_s
    return min(1.0, elapsed_s / plan.measured_s), f"{elapsed_s:.0f}/{plan.measured_s:.0f} s, {result.phase}"
