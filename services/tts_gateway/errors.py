"""What can go wrong, as the client is told it.

GatewayError
├── ClientError            the client's mistake: the message is not taken, the session goes on
│   ├── BadJson            not one JSON object
│   ├── BadMessage         an unknown type or field, a wrong type, a value out of range
│   ├── BadFrame           a binary frame where text is due
│   ├── BadText            text that cannot be spoken (NUL)
│   ├── BadPosition        a position that was never sent
│   ├── MessageTooBig      over the size limit
│   ├── TextGap            an ``offset`` beyond the text held
│   ├── TextOverflow       too much text that is not spoken yet
│   ├── UnknownVoice       no such voice
│   ├── Unsupported        known to the protocol, not to this server
│   └── WrongOrder         right message, wrong time
└── FatalError             the session cannot go on: the socket is closed with ``close_code``
    ├── Busy               a limit on sessions, or the engine's, is reached
    ├── EngineFailed       the engine answered with an error or with nonsense
    ├── EngineUnavailable  the engine cannot be reached
    ├── Flood              more messages than answers were taken
    ├── IdleTimeout        nothing said and nothing to say for too long
    ├── Internal           a fault of this server
    ├── SendTimeout        the client does not read
    ├── SessionExpired     the longest life of a session is over
    ├── ShuttingDown       this server is going away
    ├── StartTimeout       no ``start`` in time
    └── TooManyErrors      the client keeps making mistakes
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """``message`` says what is wrong and what to do about it; it never repeats the user's text."""

    code: ClassVar[str]

    def __init__(self, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms


class ClientError(GatewayError):
    pass


class BadJson(ClientError):
    code = "bad_json"


class BadMessage(ClientError):
    code = "bad_message"


class BadFrame(ClientError):
    code = "bad_frame"


class BadText(ClientError):
    code = "bad_text"


class BadPosition(ClientError):
    code = "bad_position"


class MessageTooBig(ClientError):
    code = "message_too_big"


class TextGap(ClientError):
    code = "text_gap"


class TextOverflow(ClientError):
    code = "text_overflow"


class UnknownVoice(ClientError):
    code = "unknown_voice"


class Unsupported(ClientError):
    code = "unsupported"


class WrongOrder(ClientError):
    code = "wrong_order"


class FatalError(GatewayError):
    """``close_code`` is the WebSocket close code (RFC 6455, section 7.4, and IANA's registry)."""

    close_code: ClassVar[int]


class Busy(FatalError):
    code = "busy"
    close_code = 1013


class EngineFailed(FatalError):
    code = "engine_failed"
    close_code = 1011


class EngineUnavailable(FatalError):
    code = "engine_unavailable"
    close_code = 1013


class Flood(FatalError):
    code = "flood"
    close_code = 1008


class IdleTimeout(FatalError):
    code = "idle_timeout"
    close_code = 1008


class Internal(FatalError):
    code = "internal"
    close_code = 1011


class SendTimeout(FatalError):
    code = "send_timeout"
    close_code = 1008


class SessionExpired(FatalError):
    code = "session_expired"
    close_code = 1008


class ShuttingDown(FatalError):
    code = "shutting_down"
    close_code = 1012


class StartTimeout(FatalError):
    code = "start_timeout"
    close_code = 1008


class TooManyErrors(FatalError):
    code = "too_many_errors"
    close_code = 1008
