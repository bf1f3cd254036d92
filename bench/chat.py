"""A streaming client of the OpenAI chat API."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from bench.endpoint import NETWORK_ERRORS, request_failed
from bench.errors import RequestFailed
from bench.sse import EventParser

# Enough of a server's answer to know what it meant; error pages of proxies are long.
_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server reports them; ``cached`` is None where it does not say."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one event added to the answer, seen at ``at_s`` (``time.perf_counter``).

    ``text`` is visible text; ``hidden`` is true where reasoning or a piece of a tool call came.
    """

    at_s: float
    text: str
    hidden: bool


class ChatStream:
    """The state of one streamed answer: event data in, fragments out, no I/O."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.done = False

    def event(self, data: bytes, at_s: float) -> Fragment | None:
        """Take one event; return what it adds, or None where that is nothing (role, usage, ``[DONE]``).

        Raises RequestFailed: ``garbage`` for what is no chat chunk, ``server_error`` for an error told.
        """
        if data.strip() == b"[DONE]":
            self.done = True
            return None
        chunk = _chunk(data)
        self.usage = _usage(chunk.get("usage")) or self.usage
        choices = chunk.get("choices") or []
        if not choices:
            return None
        self.finish_reason = choices[0].get("finish_reason") or self.finish_reason
        return _fragment(choices[0].get("delta") or {}, at_s)

    def close(self) -> None:
        """The connection ended. Raises RequestFailed (``cut``) where the answer was not complete."""
        if not self.done:
            raise RequestFailed("cut", "the stream ended before [DONE]")


def _chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RequestFailed("garbage", f"an event is no JSON: {_shortened(data)}") from error
    if not isinstance(chunk, dict):
        raise RequestFailed("garbage", f"an event is no object: {_shortened(data)}")
    if chunk.get("error"):
        raise RequestFailed("server_error", _shortened(orjson.dumps(chunk["error"])))
    if not _is_chunk(chunk):
        raise RequestFailed("garbage", f"an event is no chat chunk: {_shortened(data)}")
    return chunk


def _is_chunk(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return False
    deltas = [choice.get("delta") or {} for choice in choices]
    return all(isinstance(delta, dict) and isinstance(delta.get("content"), str | None) for delta in deltas)


def _fragment(delta: dict[str, Any], at_s: float) -> Fragment | None:
    text = delta.get("content") or ""
    # Servers disagree on the name: SGLang says reasoning_content, OpenRouter and newer vLLM say reasoning.
    hidden = bool(delta.get("reasoning_content") or delta.get("reasoning") or delta.get("tool_calls"))
    return Fragment(at_s, text, hidden) if text or hidden else None


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    try:
        return Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]), cached)
    except (KeyError, TypeError, ValueError):
        return None


def _shortened(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())[:_MAX_DETAIL_CHARS]


class ChatClient:
    """The two calls a load test needs, on an open session; ``url`` is the server's base, with no ``/v1``."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def models(self) -> list[str]:
        """The names the server offers, in its order. Raises RequestFailed."""
        try:
            async with self._session.get(f"{self._url}/v1/models") as response:
                await _check_status(response)
                return _model_names(await response.read())
        except NETWORK_ERRORS as error:
            raise request_failed(error) from error

    async def stream(self, body: Mapping[str, Any], state: ChatStream) -> AsyncGenerator[Fragment, None]:
        """Send ``body`` and yield the fragments of the answer as they come; ``state`` collects the rest.

        Raises RequestFailed for anything short of a complete answer.
        """
        payload = orjson.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
        parser = EventParser()
        try:
            async with self._session.post(
                f"{self._url}/v1/chat/completions", data=payload, headers={"Content-Type": "application/json"}
            ) as response:
                await _check_status(response)
                async for piece in response.content.iter_any():
                    at_s = time.perf_counter()
                    for data in parser.feed(piece):
                        if (fragment := state.event(data, at_s)) is not None:
                            yield fragment
        except NETWORK_ERRORS as error:
            raise request_failed(error) from error
        state.close()


async def _check_status(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        raise RequestFailed(
            f"http_{response.status}", _shortened(await response.read()) or str(response.reason)
        )


def _model_names(data: bytes) -> list[str]:
    try:
        return [str(model["id"]) for model in orjson.loads(data)["data"]]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise RequestFailed("garbage", f"/v1/models is no model list: {_shortened(data)}") from error
