"""A tone instead of speech: every character takes the same time, so positions can be proved exactly."""

from __future__ import annotations

import asyncio
import math
import sys
from array import array
from collections.abc import AsyncGenerator
from functools import lru_cache

from tts_gateway.alignment import words_of
from tts_gateway.engine import SpeechChunk, SpeechRequest, Units, Voice
from tts_gateway.messages import AlignmentKind

# 20 characters a second: close to English read aloud (17.8).
CHAR_MS = 50
# As long as a real engine's windows get; a cancel between two windows is noticed.
WINDOW_MS = 200
TONE_HZ = 440
AMPLITUDE = 8000


class DummyEngine:
    name = "dummy"
    takes_seed = True

    async def voices(self) -> list[Voice]:
        return [Voice(name="dummy", language="en-US", sample_rate=22050)]

    def alignment(self, wanted: AlignmentKind) -> AlignmentKind:
        return wanted

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        ends = [char_end(count, request) for count in range(1, len(request.text) + 1)]
        characters = Units(list(request.text), ends)
        units: Units | None = words_of(characters) if request.alignment == "word" else characters
        window = request.sample_rate * WINDOW_MS // 1000
        for start in range(0, ends[-1], window):
            yield SpeechChunk(tone(request.sample_rate, start, min(start + window, ends[-1])), units)
            units = None
            await asyncio.sleep(0)

    async def close(self) -> None:
        return


def char_end(count: int, request: SpeechRequest) -> int:
    """Where the audio of the first ``count`` characters ends, in samples."""
    return int(count * CHAR_MS * request.sample_rate / (1000 * request.speed))


def tone(sample_rate: int, start: int, end: int) -> bytes:
    """Samples ``start`` to ``end`` of a sine, 16 bit little-endian."""
    period = _second_of_tone(sample_rate)
    first, length = start % sample_rate * 2, (end - start) * 2
    return (period * (2 + length // len(period)))[first : first + length]


@lru_cache(maxsize=16)
def _second_of_tone(sample_rate: int) -> bytes:
    """A whole number of periods, so that it can be repeated."""
    step = 2 * math.pi * TONE_HZ / sample_rate
    samples = array("h", (round(AMPLITUDE * math.sin(step * i)) for i in range(sample_rate)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
