"""The processes that are compared: started, watched, and stopped again whatever happens."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench.errors import Unreachable

# What a server writes to stderr when it can be asked: the engine's own line, and the baselines' likewise.
READY = "event=ready"

# A voice loads in 2 to 4 s; a directory of a dozen of them on a busy machine still gets its time.
START_TIMEOUT_S = 120.0
# Beyond the engine's own time to finish what was begun.
STOP_TIMEOUT_S = 10.0

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ServerProcess:
    """A server on this machine, ready to be asked; ``name`` is what a message calls it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._last_lines: deque[str] = deque(maxlen=20)
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        async for line in self._process.stderr:
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            if READY in text:
                self._ready.set()
        self._ready.set()

    async def wait_ready(self) -> None:
        """Raises Unreachable where it ends, or is not ready in time."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError:
            raise Unreachable(
                f"{self.name} is not ready after {START_TIMEOUT_S:.0f} s{self._told()}"
            ) from None
        if not any(READY in line for line in self._last_lines):
            await self._process.wait()
            raise Unreachable(
                f"{self.name} did not start (exit status {self._process.returncode}){self._told()}"
            )

    def check_alive(self) -> None:
        """Raises Unreachable where it has ended: what follows would measure nothing."""
        if self._process.returncode is not None:
            raise Unreachable(
                f"{self.name} ended while it was measured (exit status {self._process.returncode})"
                f"{self._told()}"
            )

    def _told(self) -> str:
        return f":\n  {self._last_lines[-1]}" if self._last_lines else ", and said nothing"

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all its threads since it started (user and system; proc_pid_stat(5), 14 and 15)."""
        # The second field is the program's name and may hold blanks; no parenthesis follows its own.
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    @property
    def peak_rss_mib(self) -> float:
        """The most memory it has held (VmHWM), MiB."""
        lines = self._proc("status").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

    def _proc(self, file: str) -> str:
        self.check_alive()
        return Path(f"/proc/{self._process.pid}/{file}").read_text(encoding="utf-8", errors="replace")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not follow; waits for its end."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._reader


def _end_with_parent() -> None:
    # Nobody is left to stop them where the bench itself is killed.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@asynccontextmanager
async def running(name: str, command: Sequence[str]) -> AsyncIterator[ServerProcess]:
    """Start ``command``, not yet ready, and stop it at the end; a Ctrl-C reaches the bench only."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TTS_ENGINE_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    server = ServerProcess(name, process)
    try:
        yield server
    finally:
        await server.stop()
