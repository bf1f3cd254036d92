"""What a chat stream's events mean, one by one."""

from __future__ import annotations

import orjson
import pytest

from bench.chat import ChatStream, Fragment, Usage
from bench.errors import RequestFailed


def chunk(delta: dict[str, object], **fields: object) -> bytes:
    return orjson.dumps({"choices": [{"index": 0, "delta": delta, **fields}]})


@pytest.mark.parametrize(
    ("delta", "fragment"),
    [
        ({"content": "Hi"}, Fragment(1.0, "Hi", hidden=False)),
        ({"reasoning_content": "hm"}, Fragment(1.0, "", hidden=True)),
        ({"reasoning": "hm"}, Fragment(1.0, "", hidden=True)),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, Fragment(1.0, "", hidden=True)),
        ({"role": "assistant", "content": ""}, None),
        ({"role": "assistant", "content": None}, None),
        ({}, None),
    ],
)
def test_a_fragment_is_anything_that_is_not_empty(
    delta: dict[str, object], fragment: Fragment | None
) -> None:
    assert ChatStream().event(chunk(delta), 1.0) == fragment


def test_usage_comes_in_an_event_of_its_own() -> None:
    stream = ChatStream()
    assert stream.event(chunk({}, finish_reason="stop"), 1.0) is None
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert stream.event(orjson.dumps({"choices": [], "usage": usage}), 1.0) is None
    assert (stream.finish_reason, stream.usage) == ("stop", Usage(5, 2, 4))
    assert not stream.done
    stream.event(b"[DONE]", 1.0)
    stream.close()


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": 5}, {"prompt_tokens": "x", "completion_tokens": 1}, 7]
)
def test_usage_that_says_nothing_is_none(usage: object) -> None:
    stream = ChatStream()
    stream.event(orjson.dumps({"choices": [], "usage": usage}), 1.0)
    assert stream.usage is None


def test_cached_tokens_a_server_does_not_report_are_unknown() -> None:
    stream = ChatStream()
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}
    stream.event(orjson.dumps({"choices": [], "usage": usage}), 1.0)
    assert stream.usage == Usage(5, 2, None)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"{broken", "garbage"),
        (b"[1]", "garbage"),
        (b'{"choices": 5}', "garbage"),
        (b'{"choices": ["x"]}', "garbage"),
        (b'{"choices": [{"delta": "x"}]}', "garbage"),
        (b'{"choices": [{"delta": {"content": 5}}]}', "garbage"),
        (b'{"error": {"message": "out of memory"}}', "server_error"),
    ],
)
def test_what_is_no_chunk_fails_by_name(data: bytes, kind: str) -> None:
    with pytest.raises(RequestFailed) as caught:
        ChatStream().event(data, 1.0)
    assert caught.value.kind == kind


def test_an_end_before_done_is_a_cut() -> None:
    with pytest.raises(RequestFailed) as caught:
        ChatStream().close()
    assert caught.value.kind == "cut"
