"""Settings: a flag, else TTS_GATEWAY_<NAME> in the environment, else the default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tts_gateway.messages import MIN_AHEAD_MS, Limits

ENV_PREFIX = "TTS_GATEWAY_"


class SettingsError(Exception):
    """One line that names the setting, what is wrong with it, and where it is set."""


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(9000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    engine: Literal["piper", "dummy"] = Field(
        "piper", description="speech engine: piper (tts-engine, or any Riva server) or dummy (a tone)"
    )
    engine_target: str = Field(
        "127.0.0.1:50051", min_length=1, description="gRPC address of the engine, host:port or unix:/path"
    )
    engine_timeout_s: float = Field(
        20.0, gt=0, le=600, description="longest wait for the engine's next piece of audio"
    )
    max_message_bytes: int = Field(
        65536, ge=1024, le=1048576, description="longest message a client may send"
    )
    max_unspoken_chars: int = Field(20000, ge=100, description="most text held for a session, in characters")
    max_sessions: int = Field(200, ge=1, description="sessions at a time, all consumers together")
    max_sessions_per_consumer: int = Field(100, ge=1, description="sessions at a time, for one consumer")
    start_timeout_s: float = Field(10.0, gt=0, description="a socket without 'start' is closed after this")
    idle_timeout_s: float = Field(
        120.0, gt=0, description="a session in which nothing happens ends after this"
    )
    session_life_s: float = Field(3600.0, gt=0, description="longest life of a session")
    ahead_ms: int = Field(
        10000, ge=MIN_AHEAD_MS, description="audio sent ahead of the listener if the client does not say"
    )
    max_ahead_ms: int = Field(30000, ge=MIN_AHEAD_MS, description="most audio a client may ask ahead")
    send_timeout_s: float = Field(
        10.0, gt=0, description="a client that reads nothing for this long is cut off"
    )
    drain_s: float = Field(10.0, ge=0, le=60, description="time for sessions to finish when the server stops")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")

    def limits(self) -> Limits:
        return Limits(
            message_bytes=self.max_message_bytes,
            unspoken_chars=self.max_unspoken_chars,
            sessions=self.max_sessions,
            sessions_per_consumer=self.max_sessions_per_consumer,
            start_timeout_s=self.start_timeout_s,
            idle_timeout_s=self.idle_timeout_s,
            session_life_s=self.session_life_s,
            ahead_ms=self.max_ahead_ms,
        )


def load(environment: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Settings:
    """Raises SettingsError, also for a TTS_GATEWAY_ variable that is no setting: it may be a misspelt one."""
    given = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENV_PREFIX)
    }
    try:
        return Settings.model_validate({**given, **(flags or {})})
    except ValidationError as error:
        raise SettingsError(_one_line(error, flags or {})) from None


def parse_flags(arguments: Sequence[str] | None) -> dict[str, str]:
    parser = argparse.ArgumentParser(
        prog="tts-gateway",
        description="Text-to-speech over WebSocket. Each flag can also be set as TTS_GATEWAY_<NAME>.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, field in Settings.model_fields.items():
        parser.add_argument(
            _flag(name),
            metavar=name.rsplit("_", 1)[-1].upper(),
            help=f"{field.description} (default: {field.default})",
        )
    return {name: str(value) for name, value in vars(parser.parse_args(arguments)).items()}


def _one_line(error: ValidationError, flags: Mapping[str, str]) -> str:
    detail = error.errors(include_url=False)[0]
    name = str(detail["loc"][0])
    variable = ENV_PREFIX + name.upper()
    if detail["type"] == "extra_forbidden":
        return f"{variable} is no setting of tts-gateway; --help lists them"
    source = _flag(name) if name in flags else variable
    return f"{source}={detail['input']!r}: {detail['msg']}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
