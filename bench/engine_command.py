"""``bench engine``: from its arguments to the table, the report and the picture."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from bench import engine, engine_run, engine_summary, engine_texts, prompts
from bench.engine_contest import EngineOptions
from bench.engine_plan import FULL, QUICK
from bench.engine_plot import check_plot, write_plot
from bench.engine_run import EngineRun
from bench.engine_voice import default_directory, find_voice
from bench.files import check_writable, write_atomically
from bench.report import Report, fingerprint, started_at
from bench.terminal import LiveStatus, print_summary


async def compare(options: argparse.Namespace, told: dict[str, Any]) -> int:
    """Measure, show and write; ``told`` are the arguments as the report tells them. The exit code."""
    voice = find_voice(options.voices or default_directory(), options.voice)
    if options.output_json is not None:
        check_writable(options.output_json, "--output-json")
    if options.plot is not None:
        check_plot(options.plot)
    asked = EngineOptions(voice, options.target, options.precision)
    plan = QUICK if options.quick else FULL
    result, started, environment = EngineRun(), started_at(), engine.environment(asked)
    async with LiveStatus(Console(stderr=True), lambda: engine.progress(result, plan)):
        await engine.run(asked, plan, result)
    inputs = prompts.digest(list(engine_texts.VARIANTS.items()))
    report = Report(
        kind="engine",
        fingerprint=fingerprint(told, 0, started, inputs) | environment,
        definitions=engine.DEFINITIONS,
        client_health=result.health,
        interrupted_by=result.interrupted_by,
        errors=engine_run.errors(result),
        results=engine_run.results(result),
        details=engine_run.details(result),
    )
    _show(report, result, f"{voice.name}, {options.target or f'an engine of its own, {options.precision}'}")
    _write(report, result, options)
    return report.exit_code(options.max_error_rate)


def _show(report: Report, result: EngineRun, title: str) -> None:
    console = Console()
    console.print(engine_summary.comparison(result))
    print_summary(console, report, engine_summary.facts(result), engine_summary.rows(result), title)


def _write(report: Report, result: EngineRun, options: argparse.Namespace) -> None:
    console = Console()
    if options.output_json is not None:
        write_atomically(options.output_json, engine_run.document(report, result))
        console.print(f"report: {options.output_json}", markup=False, highlight=False)
    if options.plot is not None:
        write_plot(options.plot, result, engine_summary.machine(report))
        console.print(f"plot: {options.plot}", markup=False, highlight=False)
