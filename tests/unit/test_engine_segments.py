import pytest
from hypothesis import given
from hypothesis import strategies as st
from tts_engine.segments import MAX_SEGMENT_CHARS, split


def spoken(text: str) -> list[str]:
    return [segment.spoken for segment in split(text)]


@given(st.text(st.sampled_from("aZ9 .,!?\n\0。，\t\"'…😀é") | st.characters(), max_size=700))
def test_segments_joined_are_the_text(text: str) -> None:
    segments = list(split(text))
    assert "".join(segment.text for segment in segments) == text
    assert all(0 < len(segment.text) <= MAX_SEGMENT_CHARS for segment in segments)
    assert not any("\0" in segment.spoken for segment in segments)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n", [""]),
        ("...", ["..."]),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("He said “no.” Then left.", ["He said “no.”", "Then left."]),
        ("Mr. Smith and Dr. J. Doe met, e.g. in the U.S. in May. Yes.", 2),
        ("Pi is 3.14 and v1.2.3 is out. Good.", ["Pi is 3.14 and v1.2.3 is out.", "Good."]),
        ("It was I. He ran.", ["It was I.", "He ran."]),
        ("a\nb", ["a\nb"]),
        ("a\n\nb", ["a", "b"]),
        ("你好。今天好吗？很好！", ["你好。", "今天好吗？", "很好！"]),
        ("... and then. End", ["... and then.", "End"]),
        ("a\0b", ["ab"]),
    ],
)
def test_sentences(text: str, sentences: list[str] | int) -> None:
    if isinstance(sentences, int):
        assert len(spoken(text)) == sentences
    else:
        assert spoken(text) == sentences


def test_a_long_sentence_is_cut_at_a_clause() -> None:
    first, second = spoken("word " * 30 + "clause, " + "more " * 20)
    assert first.endswith("clause,")
    assert second.startswith("more")


def test_a_long_sentence_without_clauses_is_cut_between_words() -> None:
    for part in spoken("word " * 100):
        assert set(part.split()) == {"word"}


def test_a_text_without_any_boundary_is_cut_at_the_cap() -> None:
    assert [len(part) for part in spoken("x" * 450)] == [200, 200, 50]
