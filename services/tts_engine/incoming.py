"""A stream's requests become segments to speak: text comes in any pieces, and pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from riva_tts import riva_tts_pb2 as riva
from segmentation.segmenter import Segmenter

from tts_engine.errors import Draining, InvalidRequest
from tts_engine.requests import check_length

# From here on the first segment may end between two words. Lower cuts sentences where no speaker would
# breathe; higher lets the encoder's time for the whole segment (40 ms at 100 characters) pass before the
# first sound.
EARLY_WORD_WEIGHT = 100
# Without more text for so long, what ends in a whole word is spoken. Lower, and a slow typist's sentences
# fall apart (5 characters/s are 0.2 s each); higher, and a client that waits for its audio waits longer.
PAUSE_S = 0.7
# And without more text for so long, all of it: nobody is in the middle of a word any more.
LONG_PAUSE_S = 2.0

# While draining, how long a stream may take to hand over what already came, a text or its end. Too low, and a
# client that was done sees an error; too high, and the streams that wait hold the process up.
ARRIVED_S = 0.1

# Text is looked at in pieces of so many characters, so that a long one does not hold up other streams.
FEED_CHARS = 1000

Request = riva.SynthesizeSpeechRequest


@dataclass(frozen=True)
class Segment:
    """A piece of text, and the id of the request that it belongs to."""

    request_id: riva.RequestId
    text: str


class Incoming:
    """The segments of one RPC.

    Texts follow each other without anything between, as if they were one; where the requests' `id` changes,
    or after a pause, what came so far ends. `first` is the first request, which says how to speak.
    """

    def __init__(self, first: Request, rest: AsyncIterator[Request], draining: asyncio.Event) -> None:
        self.first = first
        self._requests = _Requests(rest, draining)
        self._segmenter = Segmenter(EARLY_WORD_WEIGHT)

    @classmethod
    async def begin(cls, requests: AsyncIterator[Request], draining: asyncio.Event) -> Incoming | None:
        """Wait for the first request; None where there is none. Raises Draining."""
        first = await _Requests(requests, draining).next()
        return None if first is None else cls(first, requests, draining)

    @property
    def is_open(self) -> bool:
        """Whether more text may come, as far as it is known."""
        return not self._requests.is_at_end

    async def segments(self, heard: Callable[[int], None]) -> AsyncGenerator[Segment, None]:
        """Tells `heard` the characters of each further text. Raises InvalidRequest, Draining."""
        request = self.first
        try:
            while True:
                for text in self._fed(request):
                    yield Segment(request.id, text)
                for wait_s, flush in self._pauses():
                    if await self._requests.is_silent(wait_s):
                        for text in flush():
                            yield Segment(request.id, text)
                following = await self._requests.next()
                if following is None or following.id != request.id:
                    for text in self._segmenter.flush():
                        yield Segment(request.id, text)
                if following is None:
                    return
                self._check(following)
                heard(len(following.text))
                request = following
        finally:
            self._requests.close()

    def _fed(self, request: Request) -> Iterator[str]:
        for start in range(0, len(request.text), FEED_CHARS):
            yield from self._segmenter.feed(request.text[start : start + FEED_CHARS])

    def _pauses(self) -> Iterator[tuple[float, Callable[[], list[str]]]]:
        if self._segmenter.buffered_chars:
            yield PAUSE_S, self._segmenter.flush_words
        if self._segmenter.buffered_chars:
            yield LONG_PAUSE_S - PAUSE_S, self._segmenter.flush

    def _check(self, request: Request) -> None:
        """All requests of a stream say the same, but for their text and id."""
        check_length(request)
        for field in Request.DESCRIPTOR.fields:
            value = getattr(request, field.name)
            if field.name not in ("text", "id") and value != getattr(self.first, field.name):
                raise InvalidRequest(
                    field.name, value, "it must not change within a stream: open another one for it"
                )


class _Requests:
    """Requests with a look ahead: whether one comes soon."""

    def __init__(self, requests: AsyncIterator[Request], draining: asyncio.Event) -> None:
        self._requests = requests
        self._draining = draining
        self._coming: asyncio.Future[Request | None] | None = None

    @property
    def is_at_end(self) -> bool:
        coming = self._reading()
        if not coming.done() or coming.cancelled() or coming.exception() is not None:
            return False
        return coming.result() is None

    async def is_silent(self, wait_s: float) -> bool:
        """Whether neither a request nor the stream's end comes for so long."""
        return not await self._arrives(wait_s)

    async def next(self) -> Request | None:
        """The next request, None at the stream's end. Raises Draining."""
        if not await self._arrives(None) and not await self._arrives(ARRIVED_S):
            raise Draining
        request = self._reading().result()
        if request is not None:
            self._coming = None
        return request

    def close(self) -> None:
        if self._coming is not None:
            self._coming.cancel()

    async def _arrives(self, wait_s: float | None) -> bool:
        """Wait for the next request, for so long, or until the engine drains."""
        if self._draining.is_set():
            await asyncio.wait((self._reading(),), timeout=min(ARRIVED_S, wait_s or ARRIVED_S))
            return self._reading().done()
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait(
                (self._reading(), draining), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            draining.cancel()
        return self._reading().done()

    def _reading(self) -> asyncio.Future[Request | None]:
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._requests, None))
        return self._coming
