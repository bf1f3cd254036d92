"""One suite over every engine: what a client sees is the same, whoever speaks."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncIterator, Iterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.gateway_process import (
    PIPER_VOICE,
    GatewayProcess,
    gateway,
    hear,
    piper_engine,
    send,
    start,
)

TEXT = "Good morning, Mr. Smith. It is half past eight."


@pytest.fixture(scope="module", params=["dummy", "piper"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "dummy":
        with gateway(directory, "--engine", "dummy") as process:
            yield process
        return
    with piper_engine(directory) as engine, gateway(directory, "--engine-target", engine.target) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
async def websocket(served: GatewayProcess) -> AsyncIterator[ClientConnection]:
    async with connect(served.url, proxy=None) as connection:
        yield connection


def loudness(pcm: bytes) -> float:
    samples = array("h", pcm)
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


async def test_text_typed_a_character_at_a_time_is_spoken(websocket: ClientConnection) -> None:
    started = await start(websocket)
    assert started["type"] == "started"
    assert len(started["session"]) == len(started["resume_key"]) == 32
    assert started["limits"]["message_bytes"] == 65536
    for char in TEXT:
        await send(websocket, "text", text=char)
    await send(websocket, "end")
    heard = await hear(websocket, "done")
    assert heard.messages[-1] == {"type": "done", "samples": heard.samples, "text_offset": len(TEXT)}
    assert 1.5 < heard.samples / 22050 < 6
    assert loudness(heard.pcm) > 100


async def test_a_segment_is_spoken_while_the_next_is_typed(websocket: ClientConnection) -> None:
    await start(websocket)
    await send(websocket, "text", text="It is late. And")
    heard = await hear(websocket, "audio")
    assert heard.frames[0][0] == 0


async def test_frames_last_from_20_to_200_ms(websocket: ClientConnection) -> None:
    await start(websocket)
    await send(websocket, "text", text=TEXT)
    await send(websocket, "end")
    heard = await hear(websocket, "done")
    assert all(20 <= len(pcm) / 2 / 22.05 <= 200 for _, pcm in heard.frames)


@pytest.mark.parametrize("alignment", ["char", "word"])
async def test_alignment_tiles_the_text_and_the_audio(websocket: ClientConnection, alignment: str) -> None:
    text = "In 1984, Dr. Smith said 你好 ... 😀 and left. Good!"
    await start(websocket, alignment=alignment, audio={"encoding": "pcm_s16le", "sample_rate": 16000})
    await send(websocket, "text", text=text)
    await send(websocket, "end")
    heard = await hear(websocket, "done")
    messages = heard.of("alignment")
    assert "".join(unit for message in messages for unit in message["units"]) == text
    starts = [start for message in messages for start in message["start_samples"]]
    ends = [end for message in messages for end in message["end_samples"]]
    assert starts == [0, *ends[:-1]]
    assert ends == sorted(ends)
    assert ends[-1] == heard.samples


async def test_a_seed_makes_it_the_same_again(served: GatewayProcess) -> None:
    async def spoken() -> bytes:
        async with connect(served.url, proxy=None) as websocket:
            await start(websocket, seed=7)
            await send(websocket, "text", text=TEXT)
            await send(websocket, "end")
            return (await hear(websocket, "done")).pcm

    assert await spoken() == await spoken()


async def test_flush_speaks_what_is_there(websocket: ClientConnection) -> None:
    await start(websocket)
    await send(websocket, "text", text="Good")
    await send(websocket, "flush")
    heard = await hear(websocket, "flushed")
    assert heard.messages[-1] == {"type": "flushed", "samples": heard.samples, "text_offset": 4}
    assert heard.samples > 0


@pytest.mark.parametrize("silent", ["", " ", "\n\n"])
async def test_an_end_without_words_is_done(websocket: ClientConnection, silent: str) -> None:
    await start(websocket)
    await send(websocket, "text", text=silent)
    await send(websocket, "end")
    heard = await hear(websocket, "done")
    assert heard.messages[-1]["text_offset"] == len(silent)


async def test_cancel_stops_and_takes_new_text(websocket: ClientConnection) -> None:
    await start(websocket, ahead_ms=400)
    await send(websocket, "text", text=TEXT + " ")
    heard = await hear(websocket, "audio")
    await send(websocket, "cancel")
    await hear(websocket, "cancelled", heard)
    cancelled = heard.messages[-1]
    assert cancelled["sample"] == heard.samples
    assert cancelled["text_offset"] < len(TEXT)
    await send(websocket, "text", text="Good night.", offset=len(TEXT) + 1)
    await send(websocket, "end")
    await hear(websocket, "done", heard)
    assert heard.messages[-1]["text_offset"] == len(TEXT) + 1 + len("Good night.")
    assert heard.messages[-1]["samples"] == heard.samples > cancelled["sample"]


async def test_text_sent_again_is_spoken_once(websocket: ClientConnection) -> None:
    await start(websocket)
    await send(websocket, "text", text="Good morn", offset=0)
    await send(websocket, "text", text="Good morning.", offset=0)
    await send(websocket, "text", text="ning.", offset=8)
    await send(websocket, "end")
    heard = await hear(websocket, "done")
    assert heard.messages[-1]["text_offset"] == len("Good morning.")


@pytest.mark.parametrize("sample_rate", [8000, 16000, 24000, 44100, 48000])
async def test_any_sample_rate(websocket: ClientConnection, sample_rate: int) -> None:
    started = await start(websocket, audio={"encoding": "pcm_s16le", "sample_rate": sample_rate})
    assert started["audio"] == {"encoding": "pcm_s16le", "sample_rate": sample_rate}
    await send(websocket, "text", text="Good morning.")
    await send(websocket, "end")
    heard = await hear(websocket, "done")
    assert 0.5 < heard.samples / sample_rate < 2
    assert loudness(heard.pcm) > 100


async def test_sessions_do_not_mix(served: GatewayProcess) -> None:
    texts = ["One.", "Two and three.", "Good morning to you all.", "Yes, please, that would be nice."]

    async def speak(text: str) -> int:
        async with connect(served.url, proxy=None) as websocket:
            await start(websocket)
            await send(websocket, "text", text=text)
            await send(websocket, "end")
            return int((await hear(websocket, "done")).messages[-1]["text_offset"])

    assert await asyncio.gather(*map(speak, texts)) == [len(text) for text in texts]


async def test_close_ends_the_session(websocket: ClientConnection) -> None:
    await start(websocket)
    await send(websocket, "close")
    with pytest.raises(ConnectionClosed) as closed:
        await websocket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


async def test_an_unknown_voice_is_refused_and_another_taken(
    served: GatewayProcess, websocket: ClientConnection
) -> None:
    refused = await start(websocket, voice="nobody")
    assert (refused["code"], refused["fatal"]) == ("unknown_voice", False)
    name = PIPER_VOICE if PIPER_VOICE in refused["message"] else "dummy"
    started = await start(websocket, voice=name)
    assert started["voice"] == name


def test_voices_and_readiness(served: GatewayProcess) -> None:
    assert served.get("/healthz") == (200, '{"status":"ok"}')
    assert served.get("/readyz")[0] == 200
    status, body = served.get("/v1/voices")
    assert status == 200
    assert '"sample_rate":22050' in body


async def test_a_client_that_vanishes_leaves_nothing(served: GatewayProcess) -> None:
    websocket = await connect(served.url, proxy=None)
    await start(websocket)
    await send(websocket, "text", text=TEXT)
    await send(websocket, "flush")
    websocket.transport.abort()
    await asyncio.to_thread(served.wait_until_empty)


def test_no_session_is_left_in_the_end(served: GatewayProcess) -> None:
    served.wait_until_empty()
    log = served.process.errors.read_text()
    assert "Traceback" not in log
    assert "morning" not in log
