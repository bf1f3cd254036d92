"""The Riva TTS service: requests in, responses out. Checks are in `requests`, work is in `workers`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import grpc
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisServicer

from tts_engine import logs
from tts_engine.audio import Resampler, chunks, pcm16
from tts_engine.errors import Draining, InvalidRequest, RequestError, VoiceNotFound
from tts_engine.metrics import Metrics
from tts_engine.requests import SpeechRequest, check
from tts_engine.segments import Segment, split
from tts_engine.synthesis import Speech
from tts_engine.voices import Catalogue, Voice, speaker_names
from tts_engine.workers import Workers

# gRPC refuses messages over 4 MiB on the receiving side unless told otherwise; the rest is for the metadata.
MAX_UNARY_AUDIO_BYTES = 4 * 1024 * 1024 - 64 * 1024

# While draining, how long a stream may take to hand over what already came, a text or its end. Too low, and a
# client that was done sees an error; too high, and the streams that wait hold the process up.
ARRIVED_S = 0.1

Response = riva.SynthesizeSpeechResponse
Context = grpc.aio.ServicerContext[riva.SynthesizeSpeechRequest, Response]
ConfigContext = grpc.aio.ServicerContext[riva.RivaSynthesisConfigRequest, riva.RivaSynthesisConfigResponse]


@dataclass
class _Call:
    """What one RPC did, for its log line."""

    characters: int = 0
    audio_bytes: int = 0


class SpeechService(RivaSpeechSynthesisServicer):
    """Speaks with the voices of `catalogue`.

    Responses to one text, in order: for each segment the audio in chunks of at most 200 ms. `meta` stands on
    the segment's first response: `text` is the slice of the request's text it covers (the slices, joined,
    are the request's text), `processed_text` what is really spoken, `predicted_durations` the seconds of each
    phoneme id, where the voice tells them; a segment too long for one run of the model has the durations of
    each further run on that run's first response. A segment with nothing to say has one response without
    audio. Every response carries the request's `id`.
    """

    def __init__(self, catalogue: Catalogue, workers: Workers, metrics: Metrics) -> None:
        self._catalogue = catalogue
        self._workers = workers
        self._metrics = metrics
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Finish the texts that came; streams that wait for more text end with UNAVAILABLE."""
        self._draining.set()

    async def Synthesize(self, request: riva.SynthesizeSpeechRequest, context: Context) -> Response:
        """One text in, all of its audio out, in one message; a text too long for one is INVALID_ARGUMENT."""
        whole = Response(id=request.id) if request.HasField("id") else Response()
        async with self._observed("Synthesize", context) as call:
            audio = bytearray()
            async with aclosing(self._spoken("Synthesize", request, call, may_refuse=True)) as responses:
                async for response in responses:
                    audio += response.audio
                    if len(audio) > MAX_UNARY_AUDIO_BYTES:
                        raise InvalidRequest(
                            "text's length",
                            len(request.text),
                            f"its audio is over the {MAX_UNARY_AUDIO_BYTES} bytes of one message; "
                            "use SynthesizeOnline or a shorter text",
                        )
                    _append_meta(whole.meta, response.meta)
            whole.audio = bytes(audio)
        return whole

    async def SynthesizeOnline(
        self, request_iterator: AsyncIterator[riva.SynthesizeSpeechRequest], context: Context
    ) -> None:
        """Text in piece by piece; each piece is spoken to its end before the next is looked at."""
        async with self._observed("SynthesizeOnline", context) as call:
            let_in = False
            while (request := await self._next(request_iterator)) is not None:
                spoken = self._spoken("SynthesizeOnline", request, call, may_refuse=not let_in)
                async with aclosing(spoken) as responses:
                    async for response in responses:
                        await _send(context, response)
                let_in = True

    async def GetRivaSynthesisConfig(
        self, request: riva.RivaSynthesisConfigRequest, context: ConfigContext
    ) -> riva.RivaSynthesisConfigResponse:
        """The voices, the default one first; or only the one that is asked for."""
        async with self._observed("GetRivaSynthesisConfig", context):
            voices = self._catalogue.loaded
            if request.model_name and request.model_name not in voices:
                raise VoiceNotFound(request.model_name, voices)
            names = [request.model_name] if request.model_name else sorted(voices, key=self._default_first)
            models = [_config(voices[name]) for name in names]
        return riva.RivaSynthesisConfigResponse(model_config=models)

    def _default_first(self, name: str) -> tuple[bool, str]:
        return name != self._catalogue.default, name

    async def _next(
        self, requests: AsyncIterator[riva.SynthesizeSpeechRequest]
    ) -> riva.SynthesizeSpeechRequest | None:
        """The stream's next request, None at its end. Raises Draining."""
        coming = asyncio.ensure_future(anext(requests, None))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((coming, draining), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                await asyncio.wait((coming,), timeout=ARRIVED_S)
            if not coming.done():
                raise Draining
            return coming.result()
        finally:
            coming.cancel()
            draining.cancel()

    async def _spoken(
        self, rpc: str, request: riva.SynthesizeSpeechRequest, call: _Call, *, may_refuse: bool
    ) -> AsyncGenerator[Response, None]:
        """The responses to one text, and what they weigh in the metrics."""
        arrived = time.perf_counter()
        checked = check(request, self._catalogue)
        call.characters += len(checked.text)
        first = True
        with self._workers.place(may_refuse=may_refuse):
            async for response in self._responses(checked):
                if request.HasField("id"):
                    response.id.CopyFrom(request.id)
                if first and response.audio:
                    self._metrics.first_audio_s.labels(rpc).observe(time.perf_counter() - arrived)
                    first = False
                call.audio_bytes += len(response.audio)
                yield response

    async def _responses(self, request: SpeechRequest) -> AsyncIterator[Response]:
        resampler = Resampler(request.voice.sample_rate_hz, request.sample_rate_hz)
        for segment in split(request.text):
            meta = riva.SynthesizeSpeechResponseMetadata(text=segment.text, processed_text=segment.spoken)
            async for speech in self._speeches(request, segment):
                if speech.durations_s is not None:
                    meta.predicted_durations.extend(speech.durations_s)
                for audio in chunks(pcm16(resampler.push(speech.samples)), request.sample_rate_hz):
                    yield Response(audio=audio, meta=meta)
                    meta = riva.SynthesizeSpeechResponseMetadata()
            if meta.ByteSize():
                yield Response(meta=meta)
        for audio in chunks(pcm16(resampler.finish()), request.sample_rate_hz):
            yield Response(audio=audio)

    async def _speeches(self, request: SpeechRequest, segment: Segment) -> AsyncIterator[Speech]:
        if not segment.spoken:
            return
        utterances = await self._workers.phonemize(request.voice, segment.spoken)
        self._metrics.characters.labels(request.voice.name).inc(len(segment.spoken))
        for utterance in utterances:
            yield await self._workers.synthesize(request.voice, utterance, request.style)

    @asynccontextmanager
    async def _observed(self, rpc: str, context: Context | ConfigContext) -> AsyncIterator[_Call]:
        """Turn the engine's errors into the RPC's status, and count and log the RPC by it."""
        call, code, began = _Call(), grpc.StatusCode.UNKNOWN, time.perf_counter()
        try:
            with self._metrics.in_flight.labels(rpc).track_inprogress():
                yield call
            code = grpc.StatusCode.OK
        except RequestError as error:
            code = error.code
            await context.abort(error.code, str(error), error.trailing_metadata)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            self._metrics.requests.labels(rpc, code.name).inc()
            logs.info(
                "rpc",
                rpc=rpc,
                code=code.name,
                characters=call.characters,
                audio_bytes=call.audio_bytes,
                seconds=time.perf_counter() - began,
            )


async def _send(context: Context, response: Response) -> None:
    """Wait while the client's window is full: who does not read is not synthesized for."""
    try:
        await context.write(response)
    except grpc.aio.InternalError:
        # The client left meanwhile. gRPC fails the write that waited, and only then cancels the handler.
        raise asyncio.CancelledError from None


def _append_meta(
    whole: riva.SynthesizeSpeechResponseMetadata, part: riva.SynthesizeSpeechResponseMetadata
) -> None:
    whole.text += part.text
    whole.processed_text = " ".join(filter(None, (whole.processed_text, part.processed_text)))
    whole.predicted_durations.extend(part.predicted_durations)


def _config(voice: Voice) -> riva.RivaSynthesisConfigResponse.Config:
    speakers = ",".join(f"{name}:{voice.speakers[name]}" for name in speaker_names(voice))
    return riva.RivaSynthesisConfigResponse.Config(
        model_name=voice.name,
        parameters={
            "language_code": voice.language,
            "sample_rate": str(voice.sample_rate_hz),
            "voice_name": voice.name,
            "subvoices": speakers,
        },
    )
