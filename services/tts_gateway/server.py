"""How uvicorn serves the app, in the foreground and under gunicorn alike."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    # gunicorn's master imports this module, for the worker's class: it must not open metric files of its own.
    from tts_gateway.gateway import Gateway

# Well over any max_message_bytes: the error a client sees is then ours, not the transport's bare close.
WS_MAX_BYTES = 2 * 1024 * 1024
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
# The kernel gives up on a peer that acknowledges nothing; else a stalled socket would keep its buffer.
TCP_USER_TIMEOUT_MS = 30_000
# gunicorn kills a silent worker: the drain must go on telling it that it lives.
NOTIFY_INTERVAL_S = 1.0

OPTIONS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": WS_MAX_BYTES,
    "ws_ping_interval": PING_INTERVAL_S,
    "ws_ping_timeout": PING_TIMEOUT_S,
    # Deflate gains 3 % on audio and costs 2 ms of CPU per second of it.
    "ws_per_message_deflate": False,
    "access_log": False,
    "log_config": None,
    "server_header": False,
    # Past the drain, what is still open is not waited for.
    "timeout_graceful_shutdown": 2,
}


class Server(uvicorn.Server):
    """On SIGTERM: no new sockets, sessions drain for a bounded time, the rest is closed with 1012."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        gateway: Gateway = self.config.app.state.gateway  # type: ignore[union-attr]
        notifying = asyncio.create_task(self._notify())
        await gateway.drain()
        notifying.cancel()
        await super().shutdown(sockets)

    async def _notify(self) -> None:
        while self.config.callback_notify is not None:
            await self.config.callback_notify()
            await asyncio.sleep(NOTIFY_INTERVAL_S)


def harden(sock: socket.socket) -> None:
    """Sockets accepted from a listening one inherit this."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
