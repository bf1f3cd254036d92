"""The native speech dialect as a client reads it (``WS /tts``): one dataclass per message.

Text positions are Unicode code points from the start of the session's text, audio positions samples from the
start of its audio.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from bench.errors import RequestFailed

# 16-bit mono: what every player takes and what needs no decoder here.
ENCODING = "pcm_s16le"
SAMPLE_BYTES = 2
SAMPLE_RATE_HZ = 22050

_POSITION = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Started:
    """The session is open; audio comes at ``sample_rate_hz``."""

    voice: str
    sample_rate_hz: int
    alignment: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Audio from sample ``position`` on, 16-bit little-endian mono."""

    position: int
    audio: bytes

    @property
    def samples(self) -> int:
        """How many samples the frame holds."""
        return len(self.audio) // SAMPLE_BYTES


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where in the audio each unit of the text from ``text_offset`` on is spoken; the lists are parallel."""

    text_offset: int
    units: list[str]
    start_samples: list[int]
    end_samples: list[int]

    @property
    def text(self) -> str:
        """The units, joined: the text itself."""
        return "".join(self.units)


@dataclass(frozen=True, slots=True)
class Flushed:
    """All text before ``text_offset`` is in the audio before ``samples``."""

    samples: int
    text_offset: int


@dataclass(frozen=True, slots=True)
class Done:
    """The last frame was sent; totals of the session."""

    samples: int
    text_offset: int


@dataclass(frozen=True, slots=True)
class Flow:
    """``hold``: the server holds too much unspoken text, wait; ``go``: send on."""

    hold: bool


@dataclass(frozen=True, slots=True)
class ServerError:
    """What the server refuses or could not do."""

    code: str
    message: str
    fatal: bool


ServerMessage = Started | Frame | Alignment | Flushed | Done | Flow | ServerError


def frame(data: bytes) -> Frame:
    """A binary message. Raises RequestFailed (``garbage``) where it is too short or holds half a sample."""
    size = len(data) - _POSITION.size
    if size < 0 or size % SAMPLE_BYTES:
        raise RequestFailed("garbage", f"a frame of {len(data)} bytes is no position and whole samples")
    return Frame(_POSITION.unpack_from(data)[0], data[_POSITION.size :])


def message(data: str) -> ServerMessage | None:
    """A text message; None for a type this client does not know. Raises RequestFailed (``garbage``)."""
    try:
        fields = orjson.loads(data)
        read = _READERS.get(fields["type"])
        return read(fields) if read else None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise RequestFailed("garbage", f"no message of this protocol: {data[:200]}") from error


def _started(fields: dict[str, Any]) -> Started:
    audio = fields["audio"]
    if audio["encoding"] != ENCODING:
        raise ValueError(audio["encoding"])
    return Started(str(fields["voice"]), int(audio["sample_rate"]), str(fields.get("alignment", "char")))


def _alignment(fields: dict[str, Any]) -> Alignment:
    units, starts, ends = fields["units"], fields["start_samples"], fields["end_samples"]
    if not len(units) == len(starts) == len(ends):
        raise ValueError("lists of different lengths")
    return Alignment(int(fields["text_offset"]), units, starts, ends)


_READERS: dict[str, Callable[[dict[str, Any]], ServerMessage]] = {
    "started": _started,
    "alignment": _alignment,
    "flushed": lambda fields: Flushed(int(fields["samples"]), int(fields["text_offset"])),
    "done": lambda fields: Done(int(fields["samples"]), int(fields["text_offset"])),
    "flow": lambda fields: Flow(fields["state"] == "hold"),
    "error": lambda fields: ServerError(str(fields["code"]), str(fields["message"]), bool(fields["fatal"])),
}
