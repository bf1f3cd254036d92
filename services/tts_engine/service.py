"""The Riva TTS service: requests in, responses out. Checks are in `requests`, work is in `speaker`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import grpc
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisServicer

from tts_engine import logs
from tts_engine.admission import Stream
from tts_engine.errors import InvalidRequest, RequestError, VoiceNotFound
from tts_engine.incoming import Incoming
from tts_engine.library import Library
from tts_engine.playback import Playback
from tts_engine.requests import check
from tts_engine.speaker import Speaker
from tts_engine.voices import VoiceInfo, speaker_names
from tts_engine.workshop import Workshop

# gRPC refuses messages over 4 MiB on the receiving side unless told otherwise; the rest is for the metadata.
MAX_UNARY_BYTES = 4 * 1024 * 1024 - 64 * 1024

# Whom a stream is for, in the call's metadata: what a gateway's callers may take is shared among them.
CONSUMER_METADATA = "x-consumer"

Request = riva.SynthesizeSpeechRequest
Response = riva.SynthesizeSpeechResponse
Context = grpc.aio.ServicerContext[riva.SynthesizeSpeechRequest, Response]
ConfigContext = grpc.aio.ServicerContext[riva.RivaSynthesisConfigRequest, riva.RivaSynthesisConfigResponse]


@dataclass
class _Call:
    """What one RPC did, for its log line."""

    characters: int = 0
    audio_bytes: int = 0


class SpeechService(RivaSpeechSynthesisServicer):
    """Speaks with the voices of `library`.

    Responses, in order: for each segment of the text its audio, window by window. `meta` stands on the
    segment's first response: `text` is the slice of the request's text it covers (the slices, joined,
    are the text), `processed_text` what is really spoken, `predicted_durations` the seconds of each phoneme
    id, `words` the units that `custom_configuration["alignment"]` asks for, in ms of the RPC's audio; a
    segment too long for one run of the model has those of each further run on that run's first response. A
    segment with nothing to say has one response without audio. Every response carries its request's `id`.
    """

    def __init__(self, library: Library, workshop: Workshop) -> None:
        self._library = library
        self._workshop = workshop
        self._metrics = workshop.metrics
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Finish the texts that came; streams that wait for more text end with UNAVAILABLE."""
        self._draining.set()

    async def Synthesize(self, request: Request, context: Context) -> Response:
        """One text in, all of its audio out, in one message; a text too long for one is INVALID_ARGUMENT."""
        whole = Response(id=request.id) if request.HasField("id") else Response()
        async with self._observed("Synthesize", context) as call:
            incoming = Incoming(request, _nothing(), self._draining)
            audio = bytearray()
            async with aclosing(self._spoken("Synthesize", incoming, context, call)) as responses:
                async for response in responses:
                    audio += response.audio
                    _append_meta(whole.meta, response.meta)
                    if len(audio) + whole.ByteSize() > MAX_UNARY_BYTES:
                        raise InvalidRequest(
                            "text's length",
                            len(request.text),
                            f"its audio is over the {MAX_UNARY_BYTES} bytes of one message; "
                            "use SynthesizeOnline or a shorter text",
                        )
            whole.audio = bytes(audio)
        return whole

    async def SynthesizeOnline(self, request_iterator: AsyncIterator[Request], context: Context) -> None:
        """Text in piece by piece, in any pieces; audio out as soon as a segment of it is complete."""
        async with self._observed("SynthesizeOnline", context) as call:
            incoming = await Incoming.begin(request_iterator, self._draining)
            if incoming is None:
                return
            async with aclosing(self._spoken("SynthesizeOnline", incoming, context, call)) as responses:
                async for response in responses:
                    await _send(context, response)

    async def GetRivaSynthesisConfig(
        self, request: riva.RivaSynthesisConfigRequest, context: ConfigContext
    ) -> riva.RivaSynthesisConfigResponse:
        """The voices, the default one first; or only the one that is asked for."""
        async with self._observed("GetRivaSynthesisConfig", context):
            voices = self._library.known
            if request.model_name and request.model_name not in voices:
                raise VoiceNotFound(request.model_name, voices)
            names = [request.model_name] if request.model_name else sorted(voices, key=self._default_first)
            models = [_config(voices[name]) for name in names]
        return riva.RivaSynthesisConfigResponse(model_config=models)

    def _default_first(self, name: str) -> tuple[bool, str]:
        return name != self._library.default, name

    async def _spoken(
        self, rpc: str, incoming: Incoming, context: Context, call: _Call
    ) -> AsyncGenerator[Response, None]:
        """The responses to one RPC, and what they weigh in the metrics."""
        arrived_s = time.monotonic()
        request = check(incoming.first, self._library)
        stream = Stream(
            playback=Playback(arrived_s),
            chars_left=0,
            is_open=rpc == "SynthesizeOnline",
            consumer=_consumer(context),
        )

        def heard(n_chars: int) -> None:
            stream.chars_left += n_chars
            call.characters += n_chars

        heard(len(incoming.first.text))
        with self._workshop.admission.place(stream, arrived_s):
            speaker = Speaker(self._workshop, await self._library.load(request.voice.name), request, stream)
            async with aclosing(self._segments(incoming, speaker, heard)) as responses:
                async for response in responses:
                    stream.is_open = incoming.is_open
                    if response.audio and not call.audio_bytes:
                        self._metrics.first_audio_s.labels(rpc).observe(time.monotonic() - arrived_s)
                    call.audio_bytes += len(response.audio)
                    yield response

    async def _segments(
        self, incoming: Incoming, speaker: Speaker, heard: Callable[[int], None]
    ) -> AsyncGenerator[Response, None]:
        request_id = incoming.first.id
        async with aclosing(incoming.segments(heard)) as segments:
            async for segment in segments:
                request_id = segment.request_id
                async with aclosing(speaker.speak(segment.text)) as responses:
                    async for response in responses:
                        yield _with_id(response, request_id)
        if audio := speaker.finish():
            yield _with_id(Response(audio=audio), request_id)

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


async def _nothing() -> AsyncIterator[Request]:
    return
    yield  # makes it a generator


def _consumer(context: Context) -> str | None:
    return next(
        (str(value) for key, value in context.invocation_metadata() or () if key == CONSUMER_METADATA), None
    )


def _with_id(response: Response, request_id: riva.RequestId) -> Response:
    if request_id.value:
        response.id.CopyFrom(request_id)
    return response


def _append_meta(
    whole: riva.SynthesizeSpeechResponseMetadata, part: riva.SynthesizeSpeechResponseMetadata
) -> None:
    whole.text += part.text
    whole.processed_text = " ".join(filter(None, (whole.processed_text, part.processed_text)))
    whole.predicted_durations.extend(part.predicted_durations)
    whole.words.extend(part.words)


def _config(voice: VoiceInfo) -> riva.RivaSynthesisConfigResponse.Config:
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
