"""Settings: a flag, else its environment variable, else the default."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

from tts_engine.runtime import Precision, Provider

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

ENVIRONMENT_PREFIX = "TTS_ENGINE_"
# The kernel's limit for a socket's path: sockaddr_un holds 108 bytes, the last one a NUL.
MAX_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class TcpAddress:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


@dataclass(frozen=True)
class Settings:
    """What the engine is told from outside.

    `metrics` is None where no metrics are served; `default_voice` is None for the first voice by name;
    `preload` is empty for all voices that fit; `cache` is None where nothing is kept.
    """

    listen: Address
    voices: Path
    default_voice: str | None
    metrics: TcpAddress | None
    preload: tuple[str, ...]
    voices_memory_bytes: int
    cache: Path | None
    precision: Precision
    provider: Provider
    threads: int
    max_streams: int
    grace_s: float


def parse_tcp_address(value: str) -> TcpAddress:
    """`HOST:PORT` or `[IPv6]:PORT`; port 0 takes a free one. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT with a port of 0 to 65535, for example 127.0.0.1:50051")
    return TcpAddress(host, int(port))


def parse_address(value: str) -> Address:
    """`HOST:PORT` or `unix:/PATH`. Raises ValueError."""
    if not value.startswith("unix:"):
        return parse_tcp_address(value)
    path = Path(value.removeprefix("unix:"))
    if not path.is_absolute():
        raise ValueError("must be unix: and an absolute path, for example unix:/run/tts-engine/engine.sock")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"is too long for a socket: at most {MAX_SOCKET_PATH_BYTES} bytes")
    return UnixAddress(path)


def _parse_metrics(value: str) -> TcpAddress | None:
    return parse_tcp_address(value) if value else None


def _parse_directory(value: str) -> Path:
    if not value:
        raise ValueError("must be a directory")
    return Path(value).absolute()


def _parse_count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 4096:
        raise ValueError("must be a whole number from 1 to 4096")
    return int(value)


def _parse_optional_directory(value: str) -> Path | None:
    return _parse_directory(value) if value else None


def _parse_names(value: str) -> tuple[str, ...]:
    return tuple(name for part in value.split(",") if (name := part.strip()))


def _parse_megabytes(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 2**20:
        raise ValueError("must be a whole number of MiB from 1 to 1048576")
    return int(value) * 2**20


def _parse_member(choices: type[E]) -> Callable[[str], E]:
    def parse(value: str) -> E:
        names = [choice.value for choice in choices]
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return choices(value)

    return parse


def _parse_grace(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise ValueError("must be a number of seconds from 0 to 3600")
    return seconds


class _Options:
    """Options that a flag or an environment variable gives; what is wrong with one ends the process."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environment = environment
        self._parser = argparse.ArgumentParser(
            prog="tts-engine",
            description="Speak text with Piper voices over the NVIDIA Riva TTS API (gRPC).",
            epilog="A flag wins over its environment variable.",
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,  # a flag that was not given leaves no attribute
        )
        self._defaults: dict[str, str] = {}
        self._flags = argparse.Namespace()

    def declare(self, name: str, default: str, metavar: str, description: str) -> None:
        self._defaults[name] = default
        shown = f"[{_variable(name)}, default: {default or 'none'}]"
        self._parser.add_argument(_flag(name), metavar=metavar, help=f"{description} {shown}")

    def read(self) -> None:
        self._flags = self._parser.parse_args(self._arguments)

    def value(self, name: str, parse: Callable[[str], T]) -> T:
        if hasattr(self._flags, name):
            source, text = _flag(name), str(getattr(self._flags, name))
        else:
            source, text = _variable(name), self._environment.get(_variable(name), self._defaults[name])
        try:
            return parse(text)
        except ValueError as error:
            self._parser.exit(2, f"tts-engine: {source} is {text!r}: it {error}\n")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def load_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags and environment. A bad value ends the process: one line on stderr, status 2."""
    cores = str(len(os.sched_getaffinity(0)))
    options = _Options(arguments, environment)
    options.declare("listen", "127.0.0.1:50051", "ADDRESS", "HOST:PORT or unix:/PATH to serve gRPC on")
    options.declare("voices", "/var/lib/voices", "DIR", "directory with NAME.onnx and NAME.onnx.json")
    options.declare("default_voice", "", "NAME", "voice where a request names none; none: the first by name")
    options.declare("preload", "", "NAME,…", "voices to load at start; none: by name, as many as fit")
    options.declare("voices_memory", "2048", "MiB", "most memory for voices; the least used one goes first")
    options.declare("cache", "", "DIR", "keep cut and optimised models there; none: make them at each start")
    options.declare(
        "precision", "fp32", "fp32|bf16", "of the decoder; bf16 needs OpenVINO, and a CPU that has it"
    )
    options.declare("provider", "cpu", "cpu|cuda", "where onnxruntime runs the voices")
    options.declare("metrics", "127.0.0.1:9101", "HOST:PORT", "serve Prometheus metrics there; '' for not")
    options.declare("threads", cores, "N", "synthesis threads, one core each")
    options.declare("max_streams", "256", "N", "most streams at a time, however fast this host is")
    options.declare("grace_s", "10", "SECONDS", "time to finish what was begun after SIGTERM")
    options.read()
    return Settings(
        listen=options.value("listen", parse_address),
        voices=options.value("voices", _parse_directory),
        default_voice=options.value("default_voice", str) or None,
        metrics=options.value("metrics", _parse_metrics),
        preload=options.value("preload", _parse_names),
        voices_memory_bytes=options.value("voices_memory", _parse_megabytes),
        cache=options.value("cache", _parse_optional_directory),
        precision=options.value("precision", _parse_member(Precision)),
        provider=options.value("provider", _parse_member(Provider)),
        threads=options.value("threads", _parse_count),
        max_streams=options.value("max_streams", _parse_count),
        grace_s=options.value("grace_s", _parse_grace),
    )
