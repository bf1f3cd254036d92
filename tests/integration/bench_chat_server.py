"""A chat server with known answers and known times, to measure the measuring client with."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

TOKENS = 8
TTFT_S = 0.030
ITL_S = 0.005
INPUT_TOKENS = 11
CACHED_TOKENS = 3
MODEL = "known"


@dataclass
class ChatServer:
    """``faults`` are taken in turn by the requests, by name; where none is left, the answer is a good one."""

    url: str = ""
    key: str | None = None
    faults: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def models(self, request: web.Request) -> web.Response:
        self._check_key(request)
        return web.json_response({"object": "list", "data": [{"id": MODEL}, {"id": "other"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self._check_key(request)
        self.bodies.append(orjson.loads(await request.read()))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            fault = self.faults.pop(0) if self.faults else "none"
            if fault.startswith("http_"):
                status = int(fault.removeprefix("http_"))
                return web.json_response({"error": {"message": "no"}}, status=status)
            return await self._stream(request, fault)
        finally:
            self.running -= 1

    def _check_key(self, request: web.Request) -> None:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            raise web.HTTPUnauthorized(text="wrong key")

    async def _stream(self, request: web.Request, fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await _send(response, _delta({"role": "assistant", "content": ""}))
        await asyncio.sleep(TTFT_S)
        for number in range(TOKENS):
            if fault == "hang":
                await asyncio.sleep(3600)
            if fault == "cut" and number == 3:
                assert request.transport is not None
                request.transport.abort()
                return response
            if fault == "garbage" and number == 3:
                await response.write(b"data: {broken\n\n")
            if fault == "server_error" and number == 3:
                await _send(response, {"error": {"message": "out of memory"}})
            await _send(response, _delta(_piece(fault, number)))
            await asyncio.sleep(ITL_S)
        await _send(response, _delta({}, finish_reason="stop"))
        if fault != "no_usage":
            details = {"cached_tokens": CACHED_TOKENS}
            usage = {
                "prompt_tokens": INPUT_TOKENS,
                "completion_tokens": TOKENS,
                "prompt_tokens_details": details,
            }
            await _send(response, {"choices": [], "usage": usage})
        if fault != "no_done":
            await response.write(b"data: [DONE]\n\n")
        return response


def _piece(fault: str, number: int) -> dict[str, Any]:
    if fault == "tool_call":
        return {"tool_calls": [{"index": 0, "function": {"arguments": f"{number}"}}]}
    return {"content": f"word{number}. "}


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + orjson.dumps(event) + b"\n\n")


@asynccontextmanager
async def serving(server: ChatServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[ChatServer]:
    """Serve on a free port of the loopback until the block ends."""
    app = web.Application()
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/chat/completions", server.chat)
    async with served(app, tls) as port:
        server.url = f"{'https' if tls else 'http'}://localhost:{port}"
        yield server


@asynccontextmanager
async def served(app: web.Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run ``app`` on a free port of the loopback; the port."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
