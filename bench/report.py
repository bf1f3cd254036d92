"""The report: one JSON document a run, whole even when the run was not."""

from __future__ import annotations

import os
import platform
import signal
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from bench.errors import RequestFailed
from bench.files import write_atomically
from bench.health import ClientHealth

SCHEMA_VERSION = 1

_CLIENT_PACKAGES = ("sglang-piper", "aiohttp", "numpy", "orjson", "uvloop")


def started_at() -> str:
    """Now, as ISO 8601 in UTC with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fingerprint(arguments: dict[str, Any], seed: int, started: str, input_sha256: str) -> dict[str, Any]:
    """What a later run must share to be comparable. ``arguments`` hold no secret: keys never come in argv."""
    return {
        "started_at": started,
        "arguments": arguments,
        "seed": seed,
        "input_sha256": input_sha256,
        "client_versions": {"python": platform.python_version()}
        | {name: version(name) for name in _CLIENT_PACKAGES},
        "host_cpu": _cpu_model(),
        "host_cpu_count": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@dataclass(frozen=True, slots=True)
class Errors:
    """Failures by kind, with the first detail of each, and the share of attempts that failed (0 to 1)."""

    count: int
    rate: float
    by_kind: dict[str, int]
    examples: dict[str, str]


def count_errors(attempts: Iterable[list[RequestFailed]]) -> Errors:
    """Count failures by kind, one list an attempt; the rate is that of attempts with any, and 0 for none."""
    by_kind: Counter[str] = Counter()
    examples: dict[str, str] = {}
    total = failed = 0
    for failures in attempts:
        total += 1
        failed += bool(failures)
        for failure in failures:
            by_kind[failure.kind] += 1
            examples.setdefault(failure.kind, failure.detail)
    return Errors(
        by_kind.total(), round(failed / total, 6) if total else 0.0, dict(by_kind.most_common()), examples
    )


@dataclass(frozen=True, slots=True)
class Report:
    """The document. ``results`` and ``details`` belong to the kind of run; keys carry their units."""

    kind: str
    fingerprint: dict[str, Any]
    definitions: dict[str, str]
    client_health: ClientHealth
    interrupted_by: signal.Signals | None
    errors: Errors
    results: dict[str, Any]
    details: list[dict[str, Any]]

    @property
    def valid(self) -> bool:
        """Whether the client was fast enough for the times to be the server's."""
        return not self.client_health.invalid_reasons

    def document(self) -> dict[str, Any]:
        """The report as plain data, in reading order."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "valid": self.valid,
            "invalid_reasons": self.client_health.invalid_reasons,
            "partial": self.interrupted_by is not None,
            "partial_reason": f"interrupted by {self.interrupted_by.name}" if self.interrupted_by else None,
            "fingerprint": self.fingerprint,
            "client_health": self.client_health,
            "errors": self.errors,
            "results": self.results,
            "definitions": self.definitions,
            "details": self.details,
        }

    def write(self, path: Path) -> None:
        """Write the document to ``path``, atomically, as indented JSON."""
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        write_atomically(path, orjson.dumps(self.document(), option=options))

    def exit_code(self, max_error_rate: float) -> int:
        """0, or 1 where too much failed, or 128 + the number of the signal that cut the run short."""
        if self.interrupted_by:
            return 128 + self.interrupted_by
        return 1 if self.errors.rate > max_error_rate else 0
