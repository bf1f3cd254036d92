"""The engines a gateway can use, by the name given in its settings."""

from __future__ import annotations

from tts_gateway.engine import Engine
from tts_gateway.engines.dummy import DummyEngine
from tts_gateway.engines.piper import PiperEngine
from tts_gateway.settings import Settings


def connect(settings: Settings) -> Engine:
    """Must run in the event loop that will use the engine."""
    if settings.engine == "dummy":
        return DummyEngine()
    return PiperEngine(settings.engine_target, timeout_s=settings.engine_timeout_s)
