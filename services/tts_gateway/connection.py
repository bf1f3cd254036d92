"""One native session on one WebSocket: the I/O around the pure ``Session``.

Three tasks: one always reads (else uvicorn notices neither pongs nor a disconnect), one sends what the
session has to send, one has segments spoken. The first to end ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
import time
from contextlib import aclosing, suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from tts_gateway import metrics
from tts_gateway.engine import Engine, SpeechRequest, Voice
from tts_gateway.errors import (
    BadFrame,
    Busy,
    EngineUnavailable,
    FatalError,
    GatewayError,
    Internal,
    MessageTooBig,
    SendTimeout,
    ShuttingDown,
    UnknownVoice,
    Unsupported,
)
from tts_gateway.messages import Cancel, Cancelled, ClientMessage, Error, Start, parse, serialize
from tts_gateway.session import BYTES_PER_SAMPLE, AudioFrame, Hangup, Output, Segment, Session
from tts_gateway.settings import Settings

log = logging.getLogger(__name__)

FRAME_HEADER = struct.Struct("<q")
# A client is told to come back after a restart, which takes about this.
RESTART_RETRY_MS = 1000
# Seeds, and offsets of segments, are below this: one number holds both.
SEED_STEP = 2**31
# For the last words to a client that may be gone.
CLOSE_TIMEOUT_S = 1.0


class Connection:
    def __init__(self, websocket: WebSocket, consumer: str, engine: Engine, settings: Settings) -> None:
        self._websocket = websocket
        self._consumer = consumer
        self._engine = engine
        self._settings = settings
        self._session = Session(settings.limits(), settings.ahead_ms, time.monotonic())
        self._session_id = ""
        self._start = Start(type="start")
        self._voice = Voice("", "", 0)
        self._to_send = asyncio.Event()
        self._to_speak = asyncio.Event()
        self._speaking: asyncio.Task[None] | None = None
        self._heard_engine = False
        self._cancelled_at_s: float | None = None
        self._draining = False

    async def run(self) -> None:
        """Serve until the client leaves, says ``close``, or a fatal error ends the session."""
        tasks = [asyncio.create_task(part) for part in (self._read(), self._send(), self._speak())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() for task in done):
                await self._farewell(Internal("A fault of this server ended the session; start a new one."))
        finally:
            await self._end(tasks)
        for task in done:
            task.result()

    def drain(self) -> None:
        """End as soon as nothing would be lost."""
        self._draining = True
        self._to_send.set()

    def shut_down(self) -> None:
        self._fail(ShuttingDown("This server is going away: connect again.", retry_after_ms=RESTART_RETRY_MS))

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._session_id:
            metrics.SESSIONS_ACTIVE.dec()
            log.info("session over", extra=self._log_fields())

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        while True:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                return
            try:
                await self._take(self._decode(event.get("text")))
            except GatewayError as error:
                self._fail(error)

    def _decode(self, text: str | None) -> ClientMessage:
        if text is None:
            raise BadFrame("A binary frame came where JSON text is due; send text frames only.")
        if len(text.encode()) > self._settings.max_message_bytes:
            limit = self._settings.max_message_bytes
            raise MessageTooBig(f"A message may have {limit} bytes; send the text in smaller pieces.")
        return parse(text)

    async def _take(self, message: ClientMessage) -> None:
        if isinstance(message, Start):
            await self._open(message)
            return
        now_s = time.monotonic()
        self._session.receive(message, now_s)
        if isinstance(message, Cancel):
            self._cancelled_at_s = now_s
            metrics.CANCELS.inc()
            self._stop_speaking()
        self._wake()

    async def _open(self, start: Start) -> None:
        self._session.check_start(start)
        if start.seed is not None and not self._engine.takes_seed:
            raise Unsupported(
                f"'start', field 'seed': the engine {self._engine.name} takes none; leave it out."
            )
        voice = await self._find_voice(start.voice)
        session_id = secrets.token_hex(16)
        self._session.opened(
            start,
            session=session_id,
            resume_key=secrets.token_hex(16),
            voice=voice.name,
            alignment=self._engine.alignment(start.alignment),
            now_s=time.monotonic(),
        )
        self._start, self._voice, self._session_id = start, voice, session_id
        metrics.SESSIONS.inc()
        metrics.SESSIONS_ACTIVE.inc()
        log.info("session started", extra=self._log_fields() | {"voice": voice.name})
        self._wake()

    async def _find_voice(self, name: str | None) -> Voice:
        voices = await self._engine.voices()
        if not voices:
            raise EngineUnavailable(
                "The speech engine has no voice loaded: try again.", retry_after_ms=RESTART_RETRY_MS
            )
        for voice in voices:
            if name in (None, voice.name):
                return voice
        known = ", ".join(voice.name for voice in voices)
        raise UnknownVoice(f"There is no such voice; there are: {known}.")

    # ── speaking ─────────────────────────────────────────────────────────────────────────────────────

    async def _speak(self) -> None:
        while True:
            segment = self._session.next_segment()
            if segment is None:
                self._to_speak.clear()
                await self._to_speak.wait()
                continue
            metrics.SEGMENTS.inc()
            metrics.CHARACTERS.inc(len(segment.text))
            await self._speak_segment(segment)

    async def _speak_segment(self, segment: Segment) -> None:
        """In a task of its own, so that a cancel stops the segment and not the session."""
        self._speaking = asyncio.create_task(self._synthesize_patiently(segment))
        try:
            await asyncio.wait([self._speaking])
        finally:
            self._speaking.cancel()
        if self._speaking.cancelled():
            return
        try:
            self._speaking.result()
        except GatewayError as error:
            self._fail(error)
            return
        self._session.segment_spoken(segment)
        self._wake()

    async def _synthesize_patiently(self, segment: Segment) -> None:
        """A full engine turns new sessions away; one that it has begun to serve waits for its turn."""
        while True:
            try:
                await self._synthesize(segment)
                return
            except Busy as error:
                if not self._heard_engine or error.retry_after_ms is None:
                    raise
                await asyncio.sleep(error.retry_after_ms / 1000)

    async def _synthesize(self, segment: Segment) -> None:
        async with aclosing(self._engine.synthesize(self._speech_request(segment))) as chunks:
            async for chunk in chunks:
                self._heard_engine = True
                self._session.add_audio(segment, chunk)
                self._to_send.set()
                await self._until_audio_is_wanted()

    def _speech_request(self, segment: Segment) -> SpeechRequest:
        return SpeechRequest(
            text=segment.text,
            voice=self._voice.name,
            language=self._voice.language,
            sample_rate=self._start.audio.sample_rate,
            speed=self._start.speed,
            seed=_segment_seed(self._start.seed, segment),
            alignment=self._engine.alignment(self._start.alignment),
            consumer=self._consumer,
        )

    async def _until_audio_is_wanted(self) -> None:
        while not self._session.wants_audio:
            self._to_speak.clear()
            await self._to_speak.wait()

    def _stop_speaking(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────

    async def _send(self) -> None:
        while True:
            self._to_send.clear()
            if self._draining and self._session.is_quiet:
                self.shut_down()
            now_s = time.monotonic()
            output = self._session.next_output(now_s)
            if output is None:
                await self._until_something_to_send(self._session.wake_at(now_s) - now_s)
                continue
            self._to_speak.set()
            if not await self._put(output):
                return

    async def _until_something_to_send(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._to_send.wait()

    async def _put(self, output: Output) -> bool:
        """Send it; whether the connection goes on."""
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._write(output)
        except TimeoutError:
            await self._farewell(
                SendTimeout(f"Nothing was read for {self._settings.send_timeout_s:g} s; connect again.")
            )
            return False
        except WebSocketDisconnect:
            return False
        return not isinstance(output, Hangup)

    async def _write(self, output: Output) -> None:
        if isinstance(output, Hangup):
            await self._websocket.close(output.close_code)
            return
        if isinstance(output, AudioFrame):
            await self._websocket.send_bytes(FRAME_HEADER.pack(output.sample) + output.pcm)
            self._count_frame(output)
            return
        await self._websocket.send_text(serialize(output))
        if isinstance(output, Cancelled) and self._cancelled_at_s is not None:
            metrics.CANCEL.observe(time.monotonic() - self._cancelled_at_s)
            self._cancelled_at_s = None
        if isinstance(output, Error):
            self._count_error(output.code)

    async def _farewell(self, error: FatalError) -> None:
        """Past the session's own order: the error and the close, if the client still takes them."""
        self._count_error(error.code)
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        last_words = Error(code=error.code, message=error.message, fatal=True)
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._websocket.send_text(serialize(last_words))
                await self._websocket.close(error.close_code)

    # ── bookkeeping ──────────────────────────────────────────────────────────────────────────────────

    def _fail(self, error: GatewayError) -> None:
        self._session.fail(error)
        self._wake()

    def _wake(self) -> None:
        self._to_send.set()
        self._to_speak.set()

    def _count_frame(self, frame: AudioFrame) -> None:
        metrics.FRAMES.inc()
        metrics.AUDIO_BYTES.inc(len(frame.pcm))
        metrics.AUDIO_SECONDS.inc(len(frame.pcm) / BYTES_PER_SAMPLE / self._start.audio.sample_rate)
        if frame.first_audio_after_s is not None:
            metrics.FIRST_AUDIO.observe(frame.first_audio_after_s)

    def _count_error(self, code: str) -> None:
        metrics.ERRORS.labels(code).inc()
        log.info("error told", extra=self._log_fields() | {"code": code})

    def _log_fields(self) -> dict[str, str]:
        """Only the first half of the session's name: whole, with the key, it would open the session."""
        return {"session": self._session_id[:16], "consumer": self._consumer}


def _segment_seed(seed: int | None, segment: Segment) -> int | None:
    """Another for each segment, so that two equal sentences differ; the same wherever the segment is made."""
    return None if seed is None else seed * SEED_STEP + segment.text_offset
