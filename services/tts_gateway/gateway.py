"""What all connections of one process share: settings, the engine, the places, the drain."""

from __future__ import annotations

import asyncio

from tts_gateway import engines
from tts_gateway.admission import Admission
from tts_gateway.connection import Connection
from tts_gateway.engine import Engine
from tts_gateway.settings import Settings

# After the drain: time for the last error and close frame to leave.
FAREWELL_S = 2.0


class Gateway:
    """Make it inside the event loop that serves: a gRPC channel belongs to its loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: Engine = engines.connect(settings)
        self.admission = Admission(settings.max_sessions, settings.max_sessions_per_consumer)
        self.draining = False
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._empty.clear()

    def leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def drain(self) -> None:
        """Refuse new sessions; end the others when they have said everything, or after ``drain_s``."""
        self.draining = True
        for connection in self._connections:
            connection.drain()
        if not await self._emptied(self.settings.drain_s):
            for connection in self._connections:
                connection.shut_down()
            await self._emptied(FAREWELL_S)

    async def close(self) -> None:
        await self.engine.close()

    async def _emptied(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
