from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tts_gateway.errors import BadJson, BadMessage, ClientError, Unsupported
from tts_gateway.messages import Cancel, Done, Error, Flush, Start, Text, parse, serialize

SECRET = "SECRET"


def test_each_field_of_start_has_a_default() -> None:
    start = parse('{"type":"start"}')
    assert isinstance(start, Start)
    assert (start.voice, start.audio.encoding, start.audio.sample_rate) == (None, "pcm_s16le", 22050)
    assert (start.alignment, start.speed, start.seed, start.ahead_ms) == ("none", 1.0, None, None)


def test_messages_become_their_class() -> None:
    assert parse('{"type":"text","text":"a","offset":3}') == Text(type="text", text="a", offset=3)
    assert parse('{"type":"flush"}') == Flush(type="flush")
    assert parse('{"type":"cancel"}') == Cancel(type="cancel")


@pytest.mark.parametrize(
    ("raw", "error", "says"),
    [
        ("", BadJson, "EOF"),
        ("{", BadJson, "EOF"),
        ("nonsense", BadJson, "line 1"),
        ("[]", BadJson, "not a JSON object"),
        ("null", BadJson, "not a JSON object"),
        ('"text"', BadJson, "not a JSON object"),
        ('{"type":"text","text":"\\ud800"}', BadJson, "surrogate"),
        ("[" * 5000, BadJson, "recursion"),
        ('{"text":"a"}', BadMessage, "'type' is missing"),
        ('{"type":"sing"}', BadMessage, "Unknown type 'sing'"),
        ('{"type":7}', BadMessage, "Unknown type"),
        ('{"type":"resume","session":"x"}', Unsupported, "'resume'"),
        ('{"type":"text"}', BadMessage, "'text' needs the field 'text'"),
        ('{"type":"text","text":5}', BadMessage, "field 'text'"),
        ('{"type":"text","text":"a","offset":"1"}', BadMessage, "field 'offset'"),
        ('{"type":"text","text":"a","offset":-1}', BadMessage, "field 'offset'"),
        ('{"type":"text","text":"a","offset":1e999}', BadMessage, "field 'offset'"),
        ('{"type":"flush","now":true}', BadMessage, "'flush' has no field 'now'"),
        ('{"type":"start","audio":{"rate":1}}', BadMessage, "no field 'audio.rate'"),
        ('{"type":"start","audio":{"sample_rate":7999}}', BadMessage, "audio.sample_rate"),
        ('{"type":"start","audio":{"sample_rate":48001}}', BadMessage, "audio.sample_rate"),
        ('{"type":"start","speed":NaN}', BadMessage, "speed"),
        ('{"type":"start","speed":0}', BadMessage, "speed"),
        ('{"type":"start","alignment":"sentence"}', BadMessage, "'char', 'word' or 'none'"),
        ('{"type":"ack"}', BadMessage, "'ack' needs the field 'sample'"),
        ('{"type":"ack","sample":9007199254740992}', BadMessage, "sample"),
    ],
)
def test_a_bad_message_is_named(raw: str, error: type[ClientError], says: str) -> None:
    with pytest.raises(ClientError) as raised:
        parse(raw)
    assert type(raised.value) is error
    assert says in raised.value.message


def test_the_users_text_is_never_repeated() -> None:
    for raw in (
        json.dumps({"type": "text", "text": 1, "offset": SECRET}),
        json.dumps({"type": "text", "text": [SECRET]}),
        json.dumps({"type": "start", "voice": SECRET * 100}),
        '{"type":"text","text":"' + SECRET,
    ):
        with pytest.raises(ClientError) as raised:
            parse(raw)
        assert SECRET not in raised.value.message


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
TYPES = st.sampled_from(["start", "text", "flush", "end", "cancel", "ack", "resume", "close", "x"])
FIELDS = st.sampled_from(
    ["text", "offset", "sample", "voice", "audio", "alignment", "speed", "seed", "ahead_ms"]
)


def parsed_or_refused(raw: str) -> bool:
    try:
        parse(raw)
    except ClientError as error:
        return bool(error.message)
    return True


@given(JSON_VALUES.map(json.dumps) | st.text())
def test_anything_is_a_message_or_a_client_error(raw: str) -> None:
    assert parsed_or_refused(raw)


@given(TYPES, st.dictionaries(FIELDS, JSON_VALUES, max_size=3))
def test_any_fields_are_a_message_or_a_client_error(message_type: str, fields: dict[str, Any]) -> None:
    assert parsed_or_refused(json.dumps(fields | {"type": message_type}))


def test_absent_fields_are_not_sent() -> None:
    assert json.loads(serialize(Done(samples=5, text_offset=2))) == {
        "type": "done",
        "samples": 5,
        "text_offset": 2,
    }
    assert "retry_after_ms" not in serialize(Error(code="busy", message="m", fatal=True))
