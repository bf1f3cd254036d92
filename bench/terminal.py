"""What a person sees: progress on stderr, a summary on stdout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.quantiles import Summary
from bench.report import Report

# A redraw takes a few ms of the event loop: twice a second stays below 1 % of its 200 lag samples a second.
_REDRAW_INTERVAL_S = 0.5
# Without a terminal every line stays in someone's log.
_LINE_INTERVAL_S = 5.0

# The share that is done, from 0 to 1, and words.
Status = Callable[[], tuple[float, str]]


class LiveStatus:
    """``async with``: shows ``status()`` as a bar, or as lines without a terminal."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status
        self._bar: Progress | None = None

    async def __aenter__(self) -> None:
        if self._console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, auto_refresh=False)
            self._bar.add_task("", total=1.0)
            self._bar.start()
        self._task = asyncio.create_task(self._repeat())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._bar is not None:
            self._draw(self._bar)
            self._bar.stop()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_LINE_INTERVAL_S if self._bar is None else _REDRAW_INTERVAL_S)
            if self._bar is None:
                self._console.print(self._status()[1], markup=False, highlight=False)
            else:
                self._draw(self._bar)

    def _draw(self, bar: Progress) -> None:
        share, words = self._status()
        bar.update(bar.task_ids[0], completed=share, description=words, refresh=True)


@dataclass(frozen=True, slots=True)
class Row:
    """One distribution in the summary, under the name a reader knows it by."""

    label: str
    summary: Summary


def print_summary(
    console: Console, report: Report, facts: Iterable[tuple[str, str]], rows: Iterable[Row], title: str
) -> None:
    """Print the run's plain facts, its distributions, its errors, and whether it may be believed."""
    console.print(Text(title, style="bold"))
    console.print(_facts_table(facts))
    console.print(_distributions(rows))
    for kind, count in report.errors.by_kind.items():
        console.print(Text(f"  {count} × {kind}: {report.errors.examples[kind]}", style="red"))
    if report.interrupted_by:
        console.print(
            Text(f"PARTIAL: the run was ended early by {report.interrupted_by.name}", style="bold yellow")
        )
    for reason in report.client_health.invalid_reasons:
        console.print(
            Text(f"INVALID: {reason}; these times are this client's, not the server's", style="bold red")
        )


def _facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts:
        table.add_row(name, Text(value))
    return table


# Those that fit 80 columns; the report has them all.
_SHOWN = ("mean", "p50", "p90", "p99", "max")


def _distributions(rows: Iterable[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, collapse_padding=True)
    table.add_column("ms", no_wrap=True)
    for name in ("n", *_SHOWN):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.label, str(row.summary.n), *(_cell(row.summary, name) for name in _SHOWN))
    return table


def _cell(summary: Summary, name: str) -> str:
    if summary.n == 0:
        return "–"
    value: float | None = getattr(summary, name)
    return f"n/a (n = {summary.n})" if value is None else _number(value)


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def number(value: float | None, unit: str = "") -> str:
    """``value`` for a person, or n/a."""
    return (
        "n/a" if value is None else f"{value:,.1f}{unit}" if isinstance(value, float) else f"{value:,}{unit}"
    )
