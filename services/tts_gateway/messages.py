"""The native dialect's messages, one class each: JSON text frames with a ``type``.

Text positions are Unicode code points from the start of the session's text; audio positions are samples from
the start of the session's audio. Unknown fields are errors: a misspelt option must not be silently ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tts_gateway.errors import BadJson, BadMessage, ClientError, Unsupported

AlignmentKind = Literal["char", "word", "none"]

# Beyond this no session can get; it also keeps absurd integers out of the arithmetic.
MAX_POSITION = 2**53 - 1
MIN_SAMPLE_RATE = 8000
MAX_SAMPLE_RATE = 48000
# A smaller window than two frames could never send one whole.
MIN_AHEAD_MS = 400

# Of the protocol, but not of this server yet.
_UNSUPPORTED_TYPES = frozenset({"resume"})

Position = Annotated[int, Field(ge=0, le=MAX_POSITION)]


class WireMessage(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AudioFormat(WireMessage):
    """``sample_rate`` in Hz; the engine resamples, so it need not be the voice's own."""

    encoding: Annotated[str, Field(max_length=32)] = "pcm_s16le"
    sample_rate: Annotated[int, Field(ge=MIN_SAMPLE_RATE, le=MAX_SAMPLE_RATE)] = 22050


class Start(WireMessage):
    type: Literal["start"]
    voice: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    audio: AudioFormat = AudioFormat()
    alignment: AlignmentKind = "none"
    speed: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    ahead_ms: Annotated[int, Field(ge=MIN_AHEAD_MS)] | None = None


class Text(WireMessage):
    type: Literal["text"]
    text: str
    offset: Position | None = None


class Flush(WireMessage):
    type: Literal["flush"]


class End(WireMessage):
    type: Literal["end"]


class Cancel(WireMessage):
    type: Literal["cancel"]
    sample: Position | None = None


class Ack(WireMessage):
    type: Literal["ack"]
    sample: Position


class Close(WireMessage):
    type: Literal["close"]


ClientMessage = Start | Text | Flush | End | Cancel | Ack | Close

_CLIENT_MESSAGE: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)


class Limits(WireMessage):
    message_bytes: int
    unspoken_chars: int
    sessions: int
    sessions_per_consumer: int
    start_timeout_s: float
    idle_timeout_s: float
    session_life_s: float
    ahead_ms: int


class Started(WireMessage):
    """``alignment`` is the kind in force: what was asked for, or ``none`` where the engine cannot give it."""

    type: Literal["started"] = "started"
    session: str
    resume_key: str
    voice: str
    audio: AudioFormat
    alignment: AlignmentKind
    ahead_ms: int
    limits: Limits


class Alignment(WireMessage):
    """The units, concatenated, are the text from ``text_offset``; sent before the audio it describes."""

    type: Literal["alignment"] = "alignment"
    text_offset: int
    units: list[str]
    start_samples: list[int]
    end_samples: list[int]


class Flushed(WireMessage):
    type: Literal["flushed"] = "flushed"
    samples: int
    text_offset: int


class Done(WireMessage):
    type: Literal["done"] = "done"
    samples: int
    text_offset: int


class Cancelled(WireMessage):
    """All text before ``text_offset`` was spoken whole by ``sample``."""

    type: Literal["cancelled"] = "cancelled"
    sample: int
    text_offset: int


class Error(WireMessage):
    type: Literal["error"] = "error"
    code: str
    message: str
    fatal: bool
    retry_after_ms: int | None = None


ServerMessage = Started | Alignment | Flushed | Done | Cancelled | Error


def parse(raw: str) -> ClientMessage:
    """One client message from one text frame.

    Raises BadJson, BadMessage or Unsupported, which name the field and never repeat its value.
    """
    try:
        return _CLIENT_MESSAGE.validate_json(raw)
    except ValidationError as error:
        raise _client_error(error.errors(include_url=False)[0]) from None


def serialize(message: ServerMessage) -> str:
    return message.model_dump_json(exclude_none=True)


def _client_error(detail: ErrorDetails) -> ClientError:
    kind = detail["type"]
    if kind == "json_invalid" and "hex escape" in detail["msg"]:
        return BadJson(f"{detail['msg']}: half a surrogate pair is no character. Send whole characters.")
    if kind == "json_invalid":
        return BadJson(f"{detail['msg']}. Send one JSON object per text frame.")
    if kind in ("model_attributes_type", "model_type", "dict_type"):
        return BadJson("The message is not a JSON object. Send one JSON object per text frame.")
    if kind == "union_tag_not_found":
        return BadMessage("The field 'type' is missing.")
    if kind == "union_tag_invalid":
        return _unknown_type(detail)
    # The first part of the location is the union's tag: the message's type.
    message_type, *path = (str(part) for part in detail["loc"])
    field = ".".join(path)
    if kind == "extra_forbidden":
        # The name came from the client: cut it, it may be as long as the message.
        return BadMessage(f"'{message_type}' has no field {field[:64]!r}.")
    if kind == "missing":
        return BadMessage(f"'{message_type}' needs the field '{field}'.")
    return BadMessage(f"'{message_type}', field '{field}': {detail['msg']}.")


def _unknown_type(detail: ErrorDetails) -> ClientError:
    context = detail.get("ctx", {})
    tag = str(context.get("tag", ""))
    if tag in _UNSUPPORTED_TYPES:
        return Unsupported(f"'{tag}' is not supported by this server yet; open a new session with 'start'.")
    return BadMessage(f"Unknown type {tag[:32]!r}; known: {context.get('expected_tags')}.")
