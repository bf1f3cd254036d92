"""Requests into segments, with a clock that stands still unless a test waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from riva_tts import riva_tts_pb2 as riva
from tts_engine import incoming
from tts_engine.errors import Draining
from tts_engine.incoming import Incoming


class Client:
    """Sends what it is told to, and then nothing until `end`."""

    def __init__(self, *texts: str) -> None:
        self._queue: asyncio.Queue[riva.SynthesizeSpeechRequest | None] = asyncio.Queue()
        for text in texts:
            self.send(text)

    def send(self, text: str) -> None:
        self._queue.put_nowait(riva.SynthesizeSpeechRequest(text=text))

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def requests(self) -> AsyncIterator[riva.SynthesizeSpeechRequest]:
        while (request := await self._queue.get()) is not None:
            yield request


async def begun(client: Client, draining: asyncio.Event | None = None) -> Incoming:
    made = await Incoming.begin(client.requests(), draining or asyncio.Event())
    assert made is not None
    return made


async def test_it_is_open_until_the_client_ends() -> None:
    client = Client("One. Two")
    text = await begun(client)
    segments = text.segments(lambda _: None)
    assert (await anext(segments)).text == "One. "
    assert text.is_open
    client.end()
    assert (await anext(segments)).text == "Two"
    assert not text.is_open
    assert [segment.text async for segment in segments] == []


async def test_further_texts_are_told_before_they_are_spoken() -> None:
    client = Client("One. ", "Two. ")
    client.end()
    told: list[int] = []
    assert [segment.text async for segment in (await begun(client)).segments(told.append)] == [
        "One. ",
        "Two. ",
    ]
    assert told == [5]  # of the first, its length is known before


async def test_draining_ends_who_waits_and_not_who_was_done() -> None:
    draining = asyncio.Event()
    waiting, done = Client("One. "), Client("One. ")
    texts = [await begun(client, draining) for client in (waiting, done)]
    done.end()
    draining.set()
    assert [segment.text async for segment in texts[1].segments(lambda _: None)] == ["One. "]
    with pytest.raises(Draining):
        [segment async for segment in texts[0].segments(lambda _: None)]


async def test_a_pause_ends_the_words_and_a_long_one_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "PAUSE_S", 0.02)
    monkeypatch.setattr(incoming, "LONG_PAUSE_S", 0.04)
    client = Client("one two thr")
    segments = (await begun(client)).segments(lambda _: None)
    assert (await anext(segments)).text == "one two "
    assert (await anext(segments)).text == "thr"
    client.send("ee. ")
    client.end()
    assert (await anext(segments)).text == "ee. "


async def test_no_request_at_all() -> None:
    client = Client()
    client.end()
    assert await Incoming.begin(client.requests(), asyncio.Event()) is None
