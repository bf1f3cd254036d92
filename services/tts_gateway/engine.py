"""What the gateway asks of a speech engine, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from tts_gateway.messages import AlignmentKind


@dataclass(frozen=True)
class Voice:
    """``sample_rate`` is the voice's own, in Hz; 0 if the engine does not tell."""

    name: str
    language: str
    sample_rate: int


@dataclass(frozen=True)
class SpeechRequest:
    """One segment to speak, for ``consumer``.

    ``sample_rate`` is the wanted one, in Hz; ``speed`` 2.0 takes half the time. ``seed`` is its own.
    """

    text: str
    voice: str
    language: str
    sample_rate: int
    speed: float
    seed: int | None
    alignment: AlignmentKind
    consumer: str


@dataclass(frozen=True)
class Units:
    """Consecutive pieces of a segment's text, each with its end in samples from the start of its audio."""

    texts: list[str]
    ends: list[int]


@dataclass(frozen=True)
class SpeechChunk:
    """``pcm``: mono, 16 bit little-endian, whole samples. ``units``: those whose audio starts in or after."""

    pcm: bytes
    units: Units | None = None


class Engine(Protocol):
    name: str
    # Whether equal seeds give equal audio.
    takes_seed: bool

    async def voices(self) -> list[Voice]:
        """The voices loaded, the default one first. Raises EngineUnavailable or EngineFailed."""
        ...

    def alignment(self, wanted: AlignmentKind) -> AlignmentKind:
        """The kind of alignment this engine really gives when ``wanted`` is asked for."""
        ...

    def synthesize(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Audio as it is made; closing the generator stops the work.

        Raises EngineUnavailable, EngineFailed or Busy.
        """
        ...

    async def close(self) -> None: ...
