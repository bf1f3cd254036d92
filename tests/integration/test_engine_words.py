"""Times of words and characters, as they come over the wire."""

from __future__ import annotations

import numpy as np
import pytest
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests.integration.engine_process import DEADLINE_S

TEXTS = [
    "Hello there, my friend. How are you today?",
    "In 1984, Dr. Smith paid $3.50 (plus 7% tax) to the U.S. on 3/4.",
    "Hello 你好 мир! 😀👩‍👩‍👧 e\u0301té … \0 [[ x",
    "...",
    "",
    " \n\n ",
    "x" * 700,
    "مرحبا hello",
    "12345678901234567890" * 6,
]


def spoken(
    stub: RivaSpeechSynthesisStub, text: str, alignment: str, rate_hz: int = 0
) -> tuple[list[riva.WordInfo], list[riva.SynthesizeSpeechResponse]]:
    request = riva.SynthesizeSpeechRequest(
        text=text, sample_rate_hz=rate_hz, custom_configuration={"alignment": alignment}
    )
    responses = list(stub.SynthesizeOnline(iter([request]), timeout=DEADLINE_S))
    return [word for response in responses for word in response.meta.words], responses


@pytest.mark.parametrize("alignment", ["word", "char"])
@pytest.mark.parametrize("text", TEXTS)
def test_units_tile_the_text_and_the_audio(stub: RivaSpeechSynthesisStub, text: str, alignment: str) -> None:
    units, responses = spoken(stub, text, alignment, rate_hz=16000)
    assert "".join(unit.word for unit in units) == text
    if alignment == "char":
        assert all(len(unit.word) == 1 for unit in units)
    times = [time for unit in units for time in (unit.start_time, unit.end_time)]
    assert times == sorted(times)
    audio_ms = sum(len(response.audio) for response in responses) / 2 / 16
    if units:
        assert units[0].start_time == 0
        assert units[-1].end_time == pytest.approx(audio_ms, abs=1)


def test_units_come_before_the_audio_they_are_of(stub: RivaSpeechSynthesisStub) -> None:
    _, responses = spoken(stub, TEXTS[0], "word")
    heard_ms, told_ms = 0.0, 0
    for response in responses:
        told_ms = max([told_ms, *(word.end_time for word in response.meta.words)])
        heard_ms += len(response.audio) / 2 / 22.05
        assert heard_ms <= told_ms + 1


def test_riva_clients_get_words_without_marks(stub: RivaSpeechSynthesisStub) -> None:
    request = riva.SynthesizeSpeechRequest(text="Hello, my “friend”! ... Bye.", enable_word_time_offsets=True)
    words = stub.Synthesize(request, timeout=DEADLINE_S).meta.words
    assert [word.word for word in words] == ["Hello", "my", "friend", "Bye"]
    assert all(word.start_time < word.end_time for word in words)


def test_nobody_pays_for_what_was_not_asked(stub: RivaSpeechSynthesisStub) -> None:
    assert not stub.Synthesize(riva.SynthesizeSpeechRequest(text="Hello."), timeout=DEADLINE_S).meta.words


def test_a_pause_in_the_text_is_quiet_in_the_audio(stub: RivaSpeechSynthesisStub) -> None:
    """The alignment meets the sound: the comma's time is silence, the letters' is not."""
    units, responses = spoken(stub, "Apples and bananas, oranges and lemons.", "char")
    audio = np.frombuffer(b"".join(response.audio for response in responses), "<i2") / 32768

    def loudness(begin_ms: int, end_ms: int) -> float:
        return float(np.sqrt(np.mean(audio[begin_ms * 22 : end_ms * 22] ** 2)))

    (comma,) = (unit for unit in units if unit.word == ",")
    middle = (comma.start_time + comma.end_time) // 2
    bananas = (units[11].start_time, units[17].end_time)
    assert loudness(middle - 15, middle + 15) < 0.2 * loudness(*bananas)
