"""Runs the ``bench`` command as a user does: a process of its own, its streams and its exit code."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str


async def start_bench(*arguments: str | Path, key: str | None = None) -> asyncio.subprocess.Process:
    environment = {k: v for k, v in os.environ.items() if k != "SGLANG_PIPER_API_KEY"} | {"COLUMNS": "80"}
    if key is not None:
        environment["SGLANG_PIPER_API_KEY"] = key
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench",
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env=environment,
    )


async def finish(process: asyncio.subprocess.Process) -> Outcome:
    try:
        async with asyncio.timeout(60):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Outcome(process.returncode, stdout.decode(), stderr.decode())


async def bench(*arguments: str | Path, key: str | None = None) -> Outcome:
    outcome = await finish(await start_bench(*arguments, key=key))
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return outcome


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = orjson.loads(path.read_bytes())
    return report
