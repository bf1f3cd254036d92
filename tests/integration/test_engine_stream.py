"""Text that comes piece by piece, on one stream."""

from __future__ import annotations

import queue

import grpc
import pytest
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests.integration.engine_process import DEADLINE_S, details

TEXT = "Hello there, my friend. Dr. Smith paid $3.50 for it, didn't he? Yes! And so it ends"


class Talk:
    """A stream that is kept open: `say` sends, `hear` reads until a condition holds."""

    def __init__(self, stub: RivaSpeechSynthesisStub) -> None:
        self._requests: queue.SimpleQueue[riva.SynthesizeSpeechRequest | None] = queue.SimpleQueue()
        self.call = stub.SynthesizeOnline(iter(self._requests.get, None), timeout=DEADLINE_S)
        self.heard: list[riva.SynthesizeSpeechResponse] = []

    def say(self, text: str, **fields: object) -> None:
        self._requests.put(riva.SynthesizeSpeechRequest(text=text, **fields))  # type: ignore[arg-type]  # by name

    def end(self) -> None:
        self._requests.put(None)

    def hear_text(self, text: str) -> None:
        """Read until the audio's text is `text`."""
        while self.text != text:
            self.heard.append(next(self.call))

    @property
    def text(self) -> str:
        return "".join(response.meta.text for response in self.heard)


def spoken(stub: RivaSpeechSynthesisStub, pieces: list[str]) -> list[riva.SynthesizeSpeechResponse]:
    requests = (riva.SynthesizeSpeechRequest(text=piece) for piece in pieces)
    return list(stub.SynthesizeOnline(requests, timeout=DEADLINE_S))


def test_how_text_is_cut_into_messages_changes_nothing(stub: RivaSpeechSynthesisStub) -> None:
    whole, by_character = spoken(stub, [TEXT]), spoken(stub, list(TEXT))
    assert [response.meta.text for response in whole] == [response.meta.text for response in by_character]
    assert "".join(response.meta.text for response in whole) == TEXT
    assert [r.audio for r in whole] == [r.audio for r in by_character]


def test_a_sentence_is_spoken_while_the_next_is_written(stub: RivaSpeechSynthesisStub) -> None:
    talk = Talk(stub)
    for character in "This is one. And":
        talk.say(character)
    talk.hear_text("This is one. ")
    assert talk.heard[0].audio
    talk.end()
    talk.hear_text("This is one. And")


def test_who_pauses_is_spoken(stub: RivaSpeechSynthesisStub) -> None:
    """Whole words first; and the last one, when nothing comes any more. The stream stays open."""
    talk = Talk(stub)
    talk.say("one two thr")
    talk.hear_text("one two ")
    talk.hear_text("one two thr")
    assert any(response.audio for response in talk.heard)
    talk.say(" four")
    talk.end()
    talk.hear_text("one two thr four")


def test_an_id_is_a_text_of_its_own(stub: RivaSpeechSynthesisStub) -> None:
    talk = Talk(stub)
    talk.say("one", id=riva.RequestId(value="a"))
    talk.say(" and two", id=riva.RequestId(value="a"))
    talk.say("three", id=riva.RequestId(value="b"))
    talk.end()
    talk.hear_text("one and twothree")
    assert [(r.id.value, r.meta.text) for r in talk.heard if r.meta.text] == [
        ("a", "one and two"),
        ("b", "three"),
    ]
    assert all(response.id.value for response in talk.heard)


def test_a_stream_speaks_in_one_way(stub: RivaSpeechSynthesisStub) -> None:
    talk = Talk(stub)
    talk.say("One. ", sample_rate_hz=16000)
    talk.say("Two. ", sample_rate_hz=8000)
    talk.end()
    with pytest.raises(grpc.RpcError) as failed:
        talk.hear_text("One. Two. ")
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "sample_rate_hz" in details(failed.value)
    assert "open another" in details(failed.value)


def test_no_text_is_no_error(stub: RivaSpeechSynthesisStub) -> None:
    assert spoken(stub, []) == []
    assert not any(response.audio for response in spoken(stub, ["", "", ""]))
