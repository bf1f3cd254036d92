"""The comparison as a person sees it on a terminal."""

from __future__ import annotations

from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.engine_measure import Spread
from bench.engine_plan import HEADLINE_CHARACTERS, HEADLINE_CONCURRENCY
from bench.engine_run import OURS, STOCK, EngineRun, results
from bench.quantiles import summarise
from bench.report import Report
from bench.terminal import Row


def comparison(result: EngineRun) -> Table:
    """TTFA of every length with every number of callers, ours beside stock."""
    table = Table(
        title="time to first audio, ms, and the ratio of the medians, stock / ours",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for name in ("callers", "chars", "ours p50", "p95", "n", "stock p50", "p95", "n", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    keys = {(concurrency, characters) for _, characters, concurrency in result.cells}
    for concurrency, characters in sorted(keys):
        ours = result.spread(OURS, characters, concurrency)
        stock = result.spread(STOCK, characters, concurrency)
        quotient = result.times_sooner("p50", characters, concurrency)
        table.add_row(str(concurrency), str(characters), *_cells(ours), *_cells(stock), _number(quotient))
    return table


def _cells(spread: Spread | None) -> tuple[str, str, str]:
    return (f"{spread.p50:,.0f}", f"{spread.p95:,.0f}", str(spread.n)) if spread else ("–", "–", "0")


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def rows(result: EngineRun) -> list[Row]:
    """The distributions behind the headline."""
    return [
        Row(f"{server}, {callers} caller{'s' if callers > 1 else ''}", summarise(cell.ttfa_ms))
        for callers in (1, HEADLINE_CONCURRENCY)
        for server in (OURS, STOCK)
        if (cell := result.cells.get((server, HEADLINE_CHARACTERS, callers)))
    ]


def machine(report: Report) -> str:
    """One line: where, with what, and how quiet it was."""
    host, versions = report.fingerprint, report.fingerprint["server_versions"]
    return (
        f"{host['voice']}, piper-tts {versions['piper-tts']}, onnxruntime {versions['onnxruntime']}; "
        f"{host['host_cpu']}, {host['cores']} cores, load {host['load_average_before']} before"
    )


def facts(result: EngineRun) -> list[tuple[str, str]]:
    """The headline, each number with what it is made of."""
    found = results(result)
    return [
        ("first audio, idle", _sooner(result, "p50", 1)),
        ("first audio, busy", _sooner(result, "p95", HEADLINE_CONCURRENCY)),
        ("throughput", _throughput(found)),
        ("SNR", _decibels(result)),
        ("CPU s / audio s", _both(found["cpu_s_per_audio_s"], ".3f", "")),
        ("  mixed lengths", _both(found["throughput_cpu_s_per_audio_s"], ".3f", "")),
        ("peak memory", _both(found["peak_rss_mib"], ",.0f", " MiB")),
        ("turned away", _turned_away(result)),
        ("time", f"{result.measured_s:.1f} s"),
    ]


def _sooner(result: EngineRun, level: Literal["p50", "p95"], callers: int) -> str:
    quotient = result.times_sooner(level, HEADLINE_CHARACTERS, callers)
    ours = result.spread(OURS, HEADLINE_CHARACTERS, callers)
    stock = result.spread(STOCK, HEADLINE_CHARACTERS, callers)
    if quotient is None or ours is None or stock is None:
        return "n/a"
    times = f"{getattr(ours, level):,.0f} ms, stock {getattr(stock, level):,.0f} ms"
    return f"{level} {times}: stock / ours = {quotient:.2f}"


def _throughput(found: dict[str, Any]) -> str:
    quotient: float | None = found["throughput_ratio"]
    rounds, ours = found["throughput_ratio_of_rounds"], found["throughput_ours_audio_s_per_s"]
    if quotient is None or not isinstance(rounds, Spread) or not isinstance(ours, Spread):
        return "n/a"
    return (
        f"{ours.p50:.1f} audio s/s, {quotient:.2f} of onnxruntime alone "
        f"({rounds.min:.2f} to {rounds.max:.2f})"
    )


def _decibels(result: EngineRun) -> str:
    if not result.exactness:
        return "n/a"
    worst = min(result.exactness, key=lambda text: text.snr_db)
    told = f"{worst.snr_db:.1f} dB to the whole graph, lowest of {len(result.exactness)} texts"
    if worst.samples != worst.reference_samples:
        told += f" ({worst.samples:,} samples instead of {worst.reference_samples:,})"
    return told


def _turned_away(result: EngineRun) -> str:
    times = sum(cell.turned_away for cell in result.cells.values())
    return (
        f"{times} times, by admission control; these callers' waits are in their times" if times else "never"
    )


def _both(values: dict[str, float | None], form: str, unit: str) -> str:
    told = [f"{server} {value:{form}}{unit}" for server, value in values.items() if value is not None]
    return ", ".join(told) or "n/a"
