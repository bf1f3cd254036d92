"""What can go wrong, as one tree.

EngineError
├── StartError               the engine cannot start: one line to the operator, exit status 1
├── VoiceRefused             one voice cannot be used; the others keep serving
└── RequestError             a client's request ends with a gRPC status
    ├── InvalidRequest       INVALID_ARGUMENT: names the field, its value and what is allowed
    ├── VoiceNotFound        NOT_FOUND: names the voices there are
    ├── Overloaded           RESOURCE_EXHAUSTED, with `retry-after-ms` in the trailing metadata
    ├── Draining             UNAVAILABLE: the engine is going down, another try reaches the next one
    └── SynthesisFailed      INTERNAL: the voice's model failed at run time
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc

# A value in a message is cut here, so that a client's text cannot fill a log or a status line.
SHOWN_VALUE_CHARS = 60


class EngineError(Exception):
    """Root of the engine's errors."""


class StartError(EngineError):
    """The engine cannot start; the message says why and what to do."""


class VoiceRefused(EngineError):
    """One voice cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"voice {name} refused: {reason}")
        self.name = name
        self.reason = reason


class RequestError(EngineError):
    """A request that ends with a gRPC status other than OK."""

    code = grpc.StatusCode.UNKNOWN

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes out with the status, for programs to read."""
        return ()


class InvalidRequest(RequestError):
    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field} is {shown(value)}; {allowed}")
        self.field = field
        self.value = value


class VoiceNotFound(RequestError):
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, name: str, voices: Iterable[str], reason: str = "there is no such voice here") -> None:
        super().__init__(f"voice_name is {shown(name)}; {reason}. Voices: {', '.join(voices)}")
        self.name = name


class Overloaded(RequestError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, n_streams: int, retry_after_ms: int, *, of_consumer: bool = False) -> None:
        whose = "of this consumer " if of_consumer else ""
        super().__init__(
            f"{n_streams} streams {whose}are spoken already, and one more would make them stall; "
            f"try again in {retry_after_ms} ms"
        )
        self.retry_after_ms = retry_after_ms

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("retry-after-ms", str(self.retry_after_ms)),)


class Draining(RequestError):
    code = grpc.StatusCode.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("the engine is shutting down; open a new stream")


class SynthesisFailed(RequestError):
    code = grpc.StatusCode.INTERNAL

    def __init__(self, voice: str) -> None:
        super().__init__(f"voice {voice} failed to speak this text; the engine's log has the reason")


def shown(value: object) -> str:
    """`value` as it stands in a message: quoted, and cut to a readable length."""
    text = repr(value)
    return text if len(text) <= SHOWN_VALUE_CHARS else text[:SHOWN_VALUE_CHARS] + "…"
