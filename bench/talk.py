"""The proof that it works: a question is answered token by token, and spoken while it is written."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.chat import ChatClient, ChatStream, Usage
from bench.endpoint import Endpoint
from bench.errors import RequestFailed
from bench.files import write_atomically
from bench.prompts import Request
from bench.tts_client import TtsClient, connect
from bench.tts_protocol import SAMPLE_BYTES, Frame, ServerError

# After the whole text was sent, the longest wait for the next piece of audio.
AUDIO_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Talk:
    """One question and its answer. Times are ``time.perf_counter`` seconds."""

    asked_s: float = 0.0
    fragment_times_s: list[float] = field(default_factory=list)
    text: str = ""
    usage: Usage | None = None
    first_audio_s: float | None = None
    rate_hz: int = 0
    audio: bytearray = field(default_factory=bytearray)

    @property
    def ttft_ms(self) -> float:
        """Question → first token; only after an answer that has one."""
        return (self.fragment_times_s[0] - self.asked_s) * 1000

    @property
    def token_rate_per_s(self) -> float | None:
        """Tokens after the first one a second; None where the server tells no token count."""
        elapsed_s = self.fragment_times_s[-1] - self.fragment_times_s[0]
        if self.usage is None or elapsed_s <= 0:
            return None
        return (self.usage.output_tokens - 1) / elapsed_s

    @property
    def audio_s(self) -> float:
        """Seconds of speech."""
        return len(self.audio) / SAMPLE_BYTES / self.rate_hz if self.rate_hz else 0.0


def speech_url(url: str) -> str:
    """The speech socket of the server whose chat is at ``url``."""
    parts = urlsplit(url)
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/tts"


async def answer(client: ChatClient, body: Request, talk: Talk, show: Callable[[str], object]) -> None:
    """Ask, and ``show`` the answer's text as it comes. Raises RequestFailed."""
    await _write(client, body, talk, show, speech=None)


async def answer_aloud(
    chat: ChatClient,
    body: Request,
    talk: Talk,
    show: Callable[[str], object],
    endpoint: Endpoint,
    voice: str | None,
) -> None:
    """As ``answer``, and speak it at the same time over ``endpoint``, into ``talk``. Raises RequestFailed."""
    async with endpoint.session(None) as session, connect(session, endpoint.url) as client:
        talk.rate_hz = (await client.start(voice, alignment="none")).sample_rate_hz
        listening = asyncio.create_task(_listen(client, talk))
        try:
            await _write(chat, body, talk, show, client)
            await client.end()
            await _heard_out(listening, talk)
        except RequestFailed:
            if listening.done() and not listening.cancelled():
                await listening  # where both sides failed, the listener knows why
            raise
        finally:
            listening.cancel()
        await client.close()


async def _write(
    chat: ChatClient, body: Request, talk: Talk, show: Callable[[str], object], speech: TtsClient | None
) -> None:
    state = ChatStream()
    talk.asked_s = time.perf_counter()
    async with aclosing(chat.stream(body, state)) as fragments:
        async for fragment in fragments:
            talk.fragment_times_s.append(fragment.at_s)
            talk.text += fragment.text
            show(fragment.text)
            if speech is not None and fragment.text:
                await speech.text(fragment.text)
    talk.usage = state.usage
    if not talk.text.strip():
        raise RequestFailed("empty", "the model answered with no text")


async def _heard_out(listening: asyncio.Task[None], talk: Talk) -> None:
    while not listening.done():
        heard = len(talk.audio)
        await asyncio.wait([listening], timeout=AUDIO_TIMEOUT_S)
        if not listening.done() and len(talk.audio) == heard:
            raise RequestFailed("timeout", f"no audio for {AUDIO_TIMEOUT_S:.0f} s after the whole text")
    await listening


async def _listen(client: TtsClient, talk: Talk) -> None:
    async for message in client.messages():
        if isinstance(message, ServerError):
            raise RequestFailed(message.code, message.message)
        if isinstance(message, Frame):
            await _store(client, talk, message)


async def _store(client: TtsClient, talk: Talk, frame: Frame) -> None:
    if frame.position * SAMPLE_BYTES != len(talk.audio):
        raise RequestFailed("positions", f"audio is missing before sample {frame.position}")
    if talk.first_audio_s is None:
        talk.first_audio_s = time.perf_counter()
    talk.audio += frame.audio
    await client.ack(len(talk.audio) // SAMPLE_BYTES)


def write_wav(path: Path, talk: Talk) -> None:
    """Write the speech as 16-bit mono WAV, whole or not at all. Raises RequestFailed where there is none."""
    if not talk.audio:
        raise RequestFailed("empty", "the server spoke no audio")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(talk.rate_hz)
        file.writeframes(talk.audio)
    write_atomically(path, buffer.getvalue())
