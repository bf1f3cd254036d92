"""Our tts-engine with Piper's voices, over the NVIDIA Riva text-to-speech API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import grpc
import grpc.aio
from google.protobuf.message import Message
from riva_tts import riva_tts_pb2 as riva

from tts_gateway import metrics
from tts_gateway.engine import SpeechChunk, SpeechRequest, Units, Voice
from tts_gateway.errors import Busy, EngineFailed, EngineUnavailable, FatalError
from tts_gateway.messages import AlignmentKind

SERVICE = "/nvidia.riva.tts.RivaSpeechSynthesis/"
CONFIG_TIMEOUT_S = 5.0
# Voices change only when an engine restarts; asking at every start would make each wait for a busy engine.
VOICES_KEPT_S = 2.0
RETRY_AFTER_MS = 1000
# The default of two minutes would leave a restarted engine unnoticed.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    # By default gRPC takes up to 95 s of audio from the engine for a client that reads nothing; so it is 3 s.
    ("grpc.http2.lookahead_bytes", 65_536),
    ("grpc.http2.bdp_probe", 0),
)


class PiperEngine:
    name = "piper"
    takes_seed = True

    def __init__(self, target: str, *, timeout_s: float) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._get_config = self._channel.unary_unary(
            SERVICE + "GetRivaSynthesisConfig",
            request_serializer=riva.RivaSynthesisConfigRequest.SerializeToString,
            response_deserializer=riva.RivaSynthesisConfigResponse.FromString,
        )
        self._synthesize = self._channel.stream_stream(
            SERVICE + "SynthesizeOnline",
            request_serializer=riva.SynthesizeSpeechRequest.SerializeToString,
            response_deserializer=riva.SynthesizeSpeechResponse.FromString,
        )
        self._voices: list[Voice] = []
        self._voices_until_s = 0.0

    async def voices(self) -> list[Voice]:
        now_s = time.monotonic()
        if now_s >= self._voices_until_s:
            try:
                config = await self._get_config(riva.RivaSynthesisConfigRequest(), timeout=CONFIG_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                raise self._error(error.code(), error.trailing_metadata()) from error
            self._voices = [_voice(model) for model in config.model_config]
            self._voices_until_s = now_s + VOICES_KEPT_S
        return self._voices

    def alignment(self, wanted: AlignmentKind) -> AlignmentKind:
        return wanted

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[SpeechChunk, None]:
        consumer = request.consumer.encode("ascii", "replace").decode()  # all that gRPC's metadata takes
        call = self._synthesize(metadata=[("x-consumer", consumer)])
        metrics.ENGINE_REQUESTS.inc()
        try:
            await call.write(_riva_request(request))
            await call.done_writing()
            while (response := await self._next(call)) is not None:
                if len(response.audio) % 2:
                    raise EngineFailed("The speech engine sent half a sample; see the gateway's log.")
                yield SpeechChunk(response.audio, _units(response))
        except grpc.aio.AioRpcError as error:
            raise self._error(error.code(), error.trailing_metadata()) from error
        except asyncio.InvalidStateError as error:
            # Writing to a call that has failed already says only this; the status has the cause.
            raise self._error(await call.code(), await call.trailing_metadata()) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()

    async def _next(self, call: _Call) -> riva.SynthesizeSpeechResponse | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await call.read()
        except TimeoutError:
            raise EngineFailed(
                f"The speech engine gave no audio for {self._timeout_s:g} s; it may be overloaded.",
                retry_after_ms=RETRY_AFTER_MS,
            ) from None
        return response if isinstance(response, riva.SynthesizeSpeechResponse) else None

    def _error(self, status: grpc.StatusCode, trailers: grpc.aio.Metadata) -> FatalError:
        """The engine's own words stay out: they may repeat the text, or tell of the host."""
        metrics.ENGINE_FAILURES.labels(status.name.lower()).inc()
        if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            self._voices_until_s = 0.0
            return EngineUnavailable(
                "The speech engine does not answer; it may be starting: try again.",
                retry_after_ms=RETRY_AFTER_MS,
            )
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Busy(
                "The speech engine is full: try again later.", retry_after_ms=_retry_after_ms(trailers)
            )
        return EngineFailed(f"The speech engine refused the text ({status.name}); start a new session.")


_Call = grpc.aio.StreamStreamCall[Message, riva.SynthesizeSpeechResponse]


def _retry_after_ms(trailers: grpc.aio.Metadata) -> int:
    told = str(trailers.get("retry-after-ms", ""))
    return int(told) if told.isdecimal() else RETRY_AFTER_MS


def _voice(model: riva.RivaSynthesisConfigResponse.Config) -> Voice:
    """Riva tells a model's voice, language and rate as parameters, each of them optional."""
    parameters = model.parameters
    rate = parameters.get("sample_rate", "")
    return Voice(
        name=parameters.get("voice_name") or model.model_name,
        language=parameters.get("language_code", ""),
        sample_rate=int(rate) if rate.isdecimal() else 0,
    )


def _units(response: riva.SynthesizeSpeechResponse) -> Units | None:
    words = response.meta.words
    return Units([word.word for word in words], [word.end_sample for word in words]) if words else None


def _riva_request(request: SpeechRequest) -> riva.SynthesizeSpeechRequest:
    knobs: dict[str, str] = {"alignment": request.alignment}
    if request.seed is not None:
        knobs["seed"] = str(request.seed)
    if request.speed != 1.0:
        knobs["length_scale"] = f"{1 / request.speed:.6g}"
    return riva.SynthesizeSpeechRequest(
        text=request.text,
        language_code=request.language,
        encoding=riva.LINEAR_PCM,
        sample_rate_hz=request.sample_rate,
        voice_name=request.voice,
        custom_configuration=knobs,
    )
