"""With the dummy engine every position is known: what must be exact, and what must be refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from tts_gateway.engines.dummy import CHAR_MS, tone
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.gateway_process import GatewayProcess, Heard, gateway, hear, send, start

RATE = 22050
TEXT = "Hello, Mr. Smith! It is 3.14 now. 你好。今天天气很好。 The end"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway(tmp_path_factory.mktemp("dummy"), TTS_GATEWAY_ENGINE="dummy") as process:
        yield process


@pytest.fixture
async def websocket(served: GatewayProcess) -> AsyncIterator[ClientConnection]:
    async with connect(served.url, proxy=None) as connection:
        yield connection


async def speak(websocket: ClientConnection, text: str, **fields: Any) -> Heard:
    await start(websocket, **fields)
    for char in text:
        await send(websocket, "text", text=char)
    await send(websocket, "end")
    return await hear(websocket, "done")


async def error(websocket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await websocket.recv())
    assert message["type"] == "error"
    return message


async def close_code(websocket: ClientConnection) -> int:
    with suppress(ConnectionClosed):
        async for _ in websocket:
            pass
    assert websocket.close_code is not None
    return websocket.close_code


def char_end(count: int, sample_rate: int) -> int:
    return count * CHAR_MS * sample_rate // 1000


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 48000])
async def test_characters_are_aligned_exactly(websocket: ClientConnection, sample_rate: int) -> None:
    audio = {"encoding": "pcm_s16le", "sample_rate": sample_rate}
    heard = await speak(websocket, TEXT, alignment="char", audio=audio)
    segments = heard.of("alignment")
    units = [unit for segment in segments for unit in segment["units"]]
    assert units == list(TEXT)
    assert len(segments) > 3
    position = 0
    for segment in segments:
        ends = [position + char_end(count, sample_rate) for count in range(1, len(segment["units"]) + 1)]
        assert segment["end_samples"] == ends
        assert segment["start_samples"] == [position, *ends[:-1]]
        position = ends[-1]
    assert position == heard.samples


async def test_the_audio_is_the_tone_bit_for_bit(websocket: ClientConnection) -> None:
    heard = await speak(websocket, "Hello there. Bye.")
    first, second = char_end(13, RATE), char_end(4, RATE)
    assert heard.pcm == tone(RATE, 0, first) + tone(RATE, 0, second)


async def test_words_are_aligned(websocket: ClientConnection) -> None:
    heard = await speak(websocket, "Good day to you.", alignment="word")
    (alignment,) = heard.of("alignment")
    assert alignment["units"] == ["Good ", "day ", "to ", "you."]
    assert alignment["end_samples"] == [char_end(count, RATE) for count in (5, 9, 12, 16)]
    assert heard.order.index("alignment") < heard.order.index("audio")


async def test_speed_shortens(websocket: ClientConnection) -> None:
    heard = await speak(websocket, "a" * 20, speed=2.0)
    assert heard.samples == char_end(10, RATE)


async def test_cancel_tells_the_text_that_was_sent(websocket: ClientConnection) -> None:
    await start(websocket, ahead_ms=1000)
    await send(websocket, "text", text="x" * 200)
    await send(websocket, "flush")
    heard = await hear(websocket, "audio")
    await send(websocket, "cancel")
    await hear(websocket, "cancelled", heard)
    sent = heard.samples
    spoken = next(count for count in range(200, -1, -1) if char_end(count, RATE) <= sent)
    assert heard.messages[-1] == {"type": "cancelled", "sample": sent, "text_offset": spoken}


async def test_without_acks_no_more_than_ahead_ms_comes_at_once(websocket: ClientConnection) -> None:
    await start(websocket, ahead_ms=1000)
    await send(websocket, "text", text="x" * 200)
    await send(websocket, "flush")
    heard = await hear(websocket, "audio")
    while heard.samples + RATE // 10 <= RATE:
        await hear(websocket, "audio", heard)
    await send(websocket, "ack", sample=0)
    await send(websocket, "text", text=5)
    await hear(websocket, "error", heard)
    # What the wall clock had opened before the ack is small against the eight seconds still to come.
    before = heard.samples
    assert before < 5 * RATE
    await send(websocket, "ack", sample=before)
    while heard.samples < before + RATE * 9 // 10:
        await hear(websocket, "audio", heard)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("nonsense", "bad_json"),
        ("[1]", "bad_json"),
        (b"\0\0", "bad_frame"),
        ('{"type":"text","text":"\\ud800"}', "bad_json"),
        ('{"type":"text","text":"a\\u0000b"}', "bad_text"),
        ('{"type":"text","text":"a","colour":"red"}', "bad_message"),
        ('{"type":"text","text":"a","offset":7}', "text_gap"),
        ('{"type":"start"}', "wrong_order"),
        ('{"type":"resume","session":"a","resume_key":"b","sample":0}', "unsupported"),
        ('{"type":"ack","sample":99}', "bad_position"),
        ('{"type":"text","text":"' + "a" * 70000 + '"}', "message_too_big"),
        ('{"type":"text","text":"' + "a" * 20001 + '"}', "text_overflow"),
    ],
)
async def test_a_refused_message_leaves_the_session_whole(
    websocket: ClientConnection, raw: str | bytes, code: str
) -> None:
    await start(websocket)
    await websocket.send(raw)
    refused = await error(websocket)
    assert (refused["code"], refused["fatal"]) == (code, False)
    await send(websocket, "text", text="Hello.", offset=0)
    await send(websocket, "end")
    heard = await hear(websocket, "done")
    assert heard.samples == char_end(6, RATE)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"audio": {"encoding": "mulaw", "sample_rate": 8000}}, "unsupported"),
        ({"audio": {"encoding": "pcm_s16le", "sample_rate": 7000}}, "bad_message"),
        ({"ahead_ms": 40000}, "bad_message"),
        ({"speed": 9}, "bad_message"),
    ],
)
async def test_a_refused_start_may_be_corrected(
    websocket: ClientConnection, fields: dict[str, Any], code: str
) -> None:
    refused = await start(websocket, **fields)
    assert (refused["type"], refused["code"]) == ("error", code)
    assert (await start(websocket))["type"] == "started"


async def test_text_before_start_is_refused(websocket: ClientConnection) -> None:
    await send(websocket, "text", text="Hello.")
    assert (await error(websocket))["code"] == "wrong_order"


async def test_a_broken_client_is_cut_off_and_others_are_not_disturbed(served: GatewayProcess) -> None:
    async with connect(served.url, proxy=None) as good, connect(served.url, proxy=None) as broken:
        await start(good)
        for _ in range(20):
            await broken.send("{")
        assert await close_code(broken) == 1008
        await send(good, "text", text="Hello.")
        await send(good, "end")
        assert (await hear(good, "done")).samples == char_end(6, RATE)


async def test_a_message_too_long_for_the_socket_ends_it(served: GatewayProcess) -> None:
    async with connect(served.url, proxy=None) as good, connect(served.url, proxy=None) as broken:
        await start(good)
        with suppress(ConnectionClosed):
            await broken.send("a" * 5_000_000)
        # The server does not read the rest: the kernel may reset before the client has seen the close frame.
        assert await close_code(broken) in (1009, 1006)
        await send(good, "text", text="Hello.")
        await send(good, "end")
        assert (await hear(good, "done")).samples == char_end(6, RATE)


async def test_metrics_count_what_happened(served: GatewayProcess, websocket: ClientConnection) -> None:
    names = ("sessions_total", "audio_bytes_total", "cancels_total", "first_audio_seconds_count")
    before = {name: served.metric(f"tts_gateway_{name}") for name in names}
    heard = await speak(websocket, "Hello.")
    await send(websocket, "cancel")
    await hear(websocket, "cancelled")
    gained = {name: served.metric(f"tts_gateway_{name}") - before[name] for name in names}
    assert gained == {
        "sessions_total": 1,
        "audio_bytes_total": len(heard.pcm),
        "cancels_total": 1,
        "first_audio_seconds_count": 1,
    }
    assert served.metric("tts_gateway_sessions_active") >= 1


async def test_fifty_sessions_at_once(served: GatewayProcess) -> None:
    async def session(number: int) -> int:
        async with connect(served.url, proxy=None) as websocket:
            return (await speak(websocket, "a" * number)).samples

    samples = await asyncio.gather(*map(session, range(1, 51)))
    assert samples == [char_end(number, RATE) for number in range(1, 51)]
    served.wait_until_empty()
    assert "Traceback" not in served.process.errors.read_text()
