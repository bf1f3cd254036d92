"""A run of the comparison as it grows, and what came out of it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from bench.engine_measure import RatePair, Spread, cpu_per_audio, median_ratio, ratio, spread
from bench.engine_plan import HEADLINE_CHARACTERS, HEADLINE_CONCURRENCY
from bench.errors import RequestFailed
from bench.health import ClientHealth, judge
from bench.report import Errors, Report, count_errors

OURS, STOCK, ALONE = "ours", "stock", "alone"


@dataclass(slots=True)
class Cell:
    """One server with texts of one length and so many callers, over all rounds."""

    ttfa_ms: list[float] = field(default_factory=list)
    requests: int = 0
    turned_away: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float | None = None

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "requests": self.requests,
            "turned_away": self.turned_away,
            "audio_s": round(self.audio_s, 3),
            "audio_s_per_s": ratio(self.audio_s, self.wall_s),
            "cpu_s_per_audio_s": ratio(self.cpu_s, self.audio_s),
            "ttfa_ms": spread(self.ttfa_ms),
        }


@dataclass(frozen=True, slots=True)
class Exactness:
    """One text's audio against the whole graph's."""

    text: str
    snr_db: float
    samples: int
    reference_samples: int


CellKey = tuple[str, int, int]
"""Server, characters, callers."""


@dataclass(slots=True)
class EngineRun:
    """A run as it grows."""

    cells: dict[CellKey, Cell] = field(default_factory=dict)
    pair_ratios: list[float] = field(default_factory=list)
    throughput: list[RatePair] = field(default_factory=list)
    exactness: list[Exactness] = field(default_factory=list)
    attempts: list[list[RequestFailed]] = field(default_factory=list)
    peak_rss_mib: dict[str, float] = field(default_factory=dict)
    started_s: float = field(default_factory=time.perf_counter)
    measured_s: float = 0.0
    phase: str = "starting"
    health: ClientHealth = field(default_factory=lambda: judge([], 0.0, 0.0))
    interrupted_by: signal.Signals | None = None

    def spread(self, server: str, characters: int, concurrency: int) -> Spread | None:
        """TTFA (ms) of one cell, or None where nothing was measured."""
        cell = self.cells.get((server, characters, concurrency))
        return spread(cell.ttfa_ms) if cell else None

    def times_sooner(self, level: Literal["p50", "p95"], characters: int, concurrency: int) -> float | None:
        """Stock's quantile of TTFA / ours, or None where either is missing."""
        ours, stock = (self.spread(server, characters, concurrency) for server in (OURS, STOCK))
        return ratio(getattr(stock, level), getattr(ours, level)) if ours and stock else None


def headline(result: EngineRun) -> dict[str, float | None]:
    """The four numbers to follow over time; None where a run that was cut short has not measured one."""
    return {
        "ttfa_ratio_60": result.times_sooner("p50", HEADLINE_CHARACTERS, 1),
        "ttfa_p95_ratio_c8": result.times_sooner("p95", HEADLINE_CHARACTERS, HEADLINE_CONCURRENCY),
        "throughput_ratio": median_ratio(result.throughput),
        "snr_db": min((text.snr_db for text in result.exactness), default=None),
    }


def results(result: EngineRun) -> dict[str, Any]:
    """The metrics of a run; what was not measured is None or missing."""
    memory = result.peak_rss_mib
    pairs = result.throughput
    at_8 = (HEADLINE_CHARACTERS, HEADLINE_CONCURRENCY)
    return {
        **headline(result),
        "ttfa_ratio_60_of_pairs": spread(result.pair_ratios),
        "throughput_ratio_of_rounds": spread(pair.ratio for pair in pairs),
        "throughput_ours_audio_s_per_s": spread(pair.ours.per_s for pair in pairs),
        "throughput_alone_audio_s_per_s": spread(pair.alone.per_s for pair in pairs),
        "cpu_s_per_audio_s": {
            server: cell.summary()["cpu_s_per_audio_s"]
            for server in (OURS, STOCK)
            if (cell := result.cells.get((server, *at_8)))
        },
        "throughput_cpu_s_per_audio_s": {
            OURS: cpu_per_audio(pair.ours for pair in pairs),
            ALONE: cpu_per_audio(pair.alone for pair in pairs),
        },
        "peak_rss_mib": {name: memory[name] for name in (OURS, STOCK) if name in memory},
        "exactness": result.exactness,
        "throughput_rounds": pairs,
        "measured_s": round(result.measured_s, 3),
    }


def details(result: EngineRun) -> list[dict[str, Any]]:
    """Every server with every length and number of callers, in the order of the run."""
    return [
        {"server": server, "characters": characters, "concurrency": concurrency, **cell.summary()}
        for (server, characters, concurrency), cell in result.cells.items()
    ]


def errors(result: EngineRun) -> Errors:
    """The failures of all requests, of both servers, by kind."""
    return count_errors(result.attempts)


def document(report: Report, result: EngineRun) -> bytes:
    """The report as JSON, the headline at its top."""
    whole = report.document()
    order = {"schema_version": whole.pop("schema_version"), "kind": whole.pop("kind"), **headline(result)}
    return orjson.dumps(order | whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
