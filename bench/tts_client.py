"""A client of the native speech dialect: one WebSocket, one session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from bench import tts_protocol
from bench.endpoint import NETWORK_ERRORS, request_failed
from bench.errors import RequestFailed
from bench.tts_protocol import ServerMessage, Started

# A gateway answers `start` before any synthesis; one that takes longer is stuck.
START_TIMEOUT_S = 10.0

# Pings find a dead network path even while nothing is said.
_HEARTBEAT_S = 20.0


class TtsClient:
    """An open session. Every method raises RequestFailed where the socket or the server fails."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._go = asyncio.Event()
        self._go.set()
        self._text_sent = 0

    @property
    def text_sent(self) -> int:
        """Code points sent so far: the offset of the next one."""
        return self._text_sent

    async def start(self, voice: str | None, alignment: str) -> Started:
        """Open the session; ``alignment`` is ``char``, ``word`` or ``none``, no voice is the server's own."""
        audio = {"encoding": tts_protocol.ENCODING, "sample_rate": tts_protocol.SAMPLE_RATE_HZ}
        named = {"voice": voice} if voice else {}
        await self._send({"type": "start", "audio": audio, "alignment": alignment, **named})
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                answer = await self.receive()
        except TimeoutError as error:
            raise RequestFailed("timeout", f"no answer to start within {START_TIMEOUT_S:.0f} s") from error
        if isinstance(answer, tts_protocol.ServerError):
            raise RequestFailed(answer.code, answer.message)
        if not isinstance(answer, Started):
            raise RequestFailed("garbage", f"start was answered by {type(answer).__name__}")
        return answer

    async def text(self, text: str) -> None:
        """Append ``text``, as soon as the server does not hold."""
        await self._go.wait()
        await self._send({"type": "text", "text": text, "offset": self._text_sent})
        self._text_sent += len(text)

    async def flush(self) -> None:
        """Have everything sent so far spoken now."""
        await self._send({"type": "flush"})

    async def end(self) -> None:
        """No more text comes: ``done`` follows the last frame."""
        await self._send({"type": "end"})

    async def ack(self, sample: int) -> None:
        """Played or stored up to ``sample``: opens the server's send window."""
        await self._send({"type": "ack", "sample": sample})

    async def close(self) -> None:
        """End and forget the session."""
        await self._send({"type": "close"})

    async def receive(self) -> ServerMessage:
        """The next message this client knows; flow control is obeyed here. A closed socket is a failure."""
        while True:
            incoming = await self._socket.receive()
            message = _read(incoming, self._socket.close_code)
            if isinstance(message, tts_protocol.Flow):
                self._go.clear() if message.hold else self._go.set()
            if message is not None:
                return message

    async def messages(self) -> AsyncIterator[ServerMessage]:
        """Messages up to and with ``done``. A fatal error is raised under its code."""
        while True:
            message = await self.receive()
            if isinstance(message, tts_protocol.ServerError) and message.fatal:
                raise RequestFailed(message.code, message.message)
            yield message
            if isinstance(message, tts_protocol.Done):
                return

    async def _send(self, fields: dict[str, Any]) -> None:
        try:
            await self._socket.send_str(orjson.dumps(fields).decode())
        except NETWORK_ERRORS as error:
            raise request_failed(error) from error


def _read(incoming: aiohttp.WSMessage, close_code: int | None) -> ServerMessage | None:
    if incoming.type is aiohttp.WSMsgType.BINARY:
        return tts_protocol.frame(incoming.data)
    if incoming.type is aiohttp.WSMsgType.TEXT:
        return tts_protocol.message(incoming.data)
    if incoming.type is aiohttp.WSMsgType.ERROR:
        raise RequestFailed("disconnected", str(incoming.data))
    raise RequestFailed(
        f"closed_{close_code or 1006}", str(incoming.extra or "the server closed the connection")
    )


@asynccontextmanager
async def connect(session: aiohttp.ClientSession, url: str) -> AsyncIterator[TtsClient]:
    """A connected client with no session started yet. Raises RequestFailed where the handshake fails."""
    try:
        socket = await session.ws_connect(url, heartbeat=_HEARTBEAT_S, compress=0, max_msg_size=0)
    except NETWORK_ERRORS as error:
        raise request_failed(error) from error
    try:
        yield TtsClient(socket)
    finally:
        await socket.close()
