"""Ask the engine and the baselines, and take the time of their first sound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import orjson
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from bench.engine_measure import Rate
from bench.errors import RequestFailed

# Far beyond what 32 callers with long sentences wait for on a slow machine, so only a server that hangs.
REQUEST_TIMEOUT_S = 180.0

_BYTES_PER_SAMPLE = 2  # 16-bit PCM, from everyone
_FRAME_HEADER_BYTES = 4
_RETRY_AFTER = "retry-after-ms"


@dataclass(slots=True)
class Heard:
    """One text's audio as it came: ``ttfa_ms`` from sending the request to the first audio in hand.

    ``spoken`` are the pieces in which the engine spoke it, as it tells them; ``failure`` why it broke off.
    """

    audio: list[bytes] = field(default_factory=list)
    ttfa_ms: float | None = None
    spoken: list[str] = field(default_factory=list)
    failure: RequestFailed | None = None
    retry_after_s: float = 0.0

    def audio_s(self, sample_rate_hz: int) -> float:
        """Seconds of 16-bit audio."""
        return sum(map(len, self.audio)) / _BYTES_PER_SAMPLE / sample_rate_hz


class EngineClient:
    """The speech engine at ``target``, with one voice, over the Riva API."""

    def __init__(self, target: str, voice: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._stub = RivaSpeechSynthesisStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._voice = voice

    async def close(self) -> None:
        await self._channel.close()

    async def check(self) -> None:
        """One question without speech. Raises RequestFailed where nobody answers, or the voice is missing."""
        request = riva.RivaSynthesisConfigRequest(model_name=self._voice)
        try:
            await self._stub.GetRivaSynthesisConfig(request, timeout=REQUEST_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error

    async def speak(self, text: str, configuration: Mapping[str, str] | None = None) -> Heard:
        """Ask for ``text`` and take all of its audio. A failure is in the answer, never raised."""
        heard = Heard()
        request = riva.SynthesizeSpeechRequest(
            text=text,
            voice_name=self._voice,
            encoding=riva.LINEAR_PCM,
            custom_configuration=configuration or {},
        )
        sent_s = time.perf_counter()
        call = self._stub.SynthesizeOnline(_once(request), timeout=REQUEST_TIMEOUT_S)
        try:
            async for response in call:
                if response.audio:
                    _take(heard, response.audio, sent_s)
                if response.meta.processed_text:
                    heard.spoken.append(response.meta.processed_text)
        except grpc.aio.AioRpcError as error:
            heard.failure = _failed(error)
            heard.retry_after_s = _retry_after_s(error)
        return heard

    async def samples(self, text: str) -> tuple[npt.NDArray[np.float32], list[str]]:
        """``text`` without noise, ``(n_samples,) float32``, and the pieces it was spoken in."""
        exact = {"noise_scale": "0", "noise_w_scale": "0", "sample_format": "f32"}
        heard = await self.speak(text, exact)
        if heard.failure is not None:
            raise heard.failure
        return np.frombuffer(b"".join(heard.audio), "<f4"), heard.spoken


async def _once(request: riva.SynthesizeSpeechRequest) -> AsyncIterator[riva.SynthesizeSpeechRequest]:
    yield request


def _take(heard: Heard, audio: bytes, sent_s: float) -> None:
    if heard.ttfa_ms is None:
        heard.ttfa_ms = (time.perf_counter() - sent_s) * 1000
    heard.audio.append(audio)


def _failed(error: grpc.aio.AioRpcError) -> RequestFailed:
    return RequestFailed(error.code().name.lower(), error.details() or "no details")


def _retry_after_s(error: grpc.aio.AioRpcError) -> float:
    hints = dict(error.trailing_metadata() or ())
    return float(hints.get(_RETRY_AFTER, 0)) / 1000


class BaselineClient:
    """A process of ``engine_baselines`` at the unix socket ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def speak(self, text: str) -> Heard:
        """Ask stock piper for ``text``. A failure is in the answer, never raised."""
        heard = Heard()
        sent_s = time.perf_counter()
        try:
            async for frame in self._frames({"text": text}):
                _take(heard, frame, sent_s)
        except RequestFailed as failure:
            heard.failure = failure
        return heard

    async def rate(self, texts: list[str]) -> Rate:
        """Let onnxruntime alone speak ``texts`` on all cores. Raises RequestFailed."""
        answer = b"".join([frame async for frame in self._frames({"texts": texts})])
        return Rate(**orjson.loads(answer))

    async def reference(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """The whole graph's audio without noise, ``(n_samples,) float32``. Raises RequestFailed."""
        answer = b"".join([frame async for frame in self._frames({"reference": texts})])
        return np.frombuffer(answer, "<f4")

    async def _frames(self, request: dict[str, Any]) -> AsyncIterator[bytes]:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._path)
                try:
                    writer.write(orjson.dumps(request) + b"\n")
                    while size := int.from_bytes(await reader.readexactly(_FRAME_HEADER_BYTES), "little"):
                        yield await reader.readexactly(size)
                finally:
                    writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise RequestFailed("baseline", f"{type(error).__name__}: {error}") from error
