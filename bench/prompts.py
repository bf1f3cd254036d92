"""What is asked and what is typed: bundled texts, or a file of the user's."""

from __future__ import annotations

import hashlib
import random
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from bench.errors import UsageError

# The benchmark sets these itself; a file that brings them would silently change what is measured.
_RESERVED = {"model", "stream", "stream_options"}

Request = dict[str, Any]


def bundled_lines(name: str) -> list[str]:
    """The non-empty lines of the bundled text ``name``: ``questions`` or ``sentences``."""
    text = files("bench").joinpath("data", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]


def question(text: str) -> Request:
    """A chat request body with one user message and no model yet."""
    return {"messages": [{"role": "user", "content": text}]}


def load(path: Path | None) -> list[Request]:
    """The request bodies of a JSONL file, or the bundled questions.

    A line is ``{"prompt": "…"}`` or ``{"messages": […]}``; any other field of the chat API (``tools``,
    ``max_tokens``, ``temperature``, …) is sent along. Raises UsageError, with the line's number.
    """
    if path is None:
        return [question(line) for line in bundled_lines("questions")]
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"--prompts {path} cannot be read: {error.strerror}") from error
    requests = [
        _request(line, f"--prompts {path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()
    ]
    if not requests:
        raise UsageError(f'--prompts {path} is empty: one {{"prompt": "…"}} a line is needed')
    return requests


def _request(line: bytes, where: str) -> Request:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{where} is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{where} is no JSON object")
    if taken := _RESERVED & fields.keys():
        raise UsageError(
            f"{where} sets {', '.join(sorted(taken))}, which this benchmark sets itself: remove it"
        )
    if isinstance(fields.get("prompt"), str):
        text = fields.pop("prompt")
        fields = {**question(text), **fields}
    if not isinstance(fields.get("messages"), list):
        raise UsageError(f'{where} has neither a "prompt" (text) nor "messages" (a list)')
    return fields


def choose(requests: list[Request], total: int, seed: int) -> list[int]:
    """Indices of the ``total`` requests to send: shuffled rounds of all, the same for the same seed."""
    shuffle = random.Random(seed).sample  # noqa: S311 - repeatable on purpose
    order: list[int] = []
    while len(order) < total:
        order += shuffle(range(len(requests)), len(requests))
    return order[:total]


def digest(requests: object) -> str:
    """SHA-256 of what is sent, so that two reports can be known to have asked the same."""
    return hashlib.sha256(orjson.dumps(requests, option=orjson.OPT_SORT_KEYS)).hexdigest()
