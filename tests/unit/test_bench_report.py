"""Keys, files, verdicts and the report document."""

from __future__ import annotations

import signal
from pathlib import Path

import orjson
import pytest

from bench import prompts
from bench.endpoint import Endpoint, check_url, read_key, trust
from bench.errors import RequestFailed, UsageError
from bench.files import check_writable, write_atomically
from bench.health import ClientHealth, judge
from bench.report import Report, count_errors


def test_the_key_comes_from_the_file_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    environment = {"SGLANG_PIPER_API_KEY": "from-environment"}
    from_file, from_environment = read_key(file, environment), read_key(None, environment)
    assert from_file is not None
    assert (from_file.value, from_file.source) == ("from-file", str(file))
    assert from_environment is not None
    assert from_environment.value == "from-environment"
    assert read_key(None, {}) is None
    assert "from-file" not in repr(from_file)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words", b"one\nper line\n", "schlüssel".encode(), b"\xff\xfe"]
)
def test_a_file_that_is_no_key_is_refused_without_telling_its_content(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_key(file, {})
    assert str(file) in str(caught.value)
    assert "schl" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["host", "https://", "ftp://host", "https://host:port", "https://k@host", "https://h?k=v"]
)
def test_urls_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(UsageError):
        check_url(url, ("https", "http"))


def test_a_slash_at_the_end_is_no_part_of_the_url() -> None:
    assert check_url("wss://host/tts/", ("wss", "ws")) == "wss://host/tts"


def test_a_ca_file_without_a_certificate_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(UsageError, match="no PEM certificate"):
        trust(file)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("http_503", "not ready"),
        ("http_401", "wants a key"),
        ("tls", "--ca-file FILE"),
        ("refused", "nothing listens"),
    ],
)
def test_a_barred_way_is_told_with_the_way_out(kind: str, told: str) -> None:
    endpoint = Endpoint("https://host", trust(None))
    failure = RequestFailed(kind, "detail")
    assert endpoint.bars(failure)
    assert told in str(endpoint.unreachable(failure))
    assert not endpoint.bars(RequestFailed("cut", "detail"))


def test_writing_replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    write_atomically(file, b"old")
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "r.json"):
        with pytest.raises(UsageError, match="--output-json"):
            check_writable(path, "--output-json")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "no JSON object"),
        ("{}", "neither"),
        ('{"prompt": 5}', "neither"),
        ('{"prompt": "x", "model": "m"}', "sets model"),
    ],
)
def test_a_bad_prompt_is_told_with_its_line(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(UsageError, match=told):
        prompts.load(file)


def test_a_slow_client_is_no_witness() -> None:
    assert judge([0.001] * 500, cpu_s=1.0, wall_s=10.0).invalid_reasons == []
    (lag,) = judge([0.001] * 90 + [0.020] * 10, cpu_s=1.0, wall_s=10.0).invalid_reasons
    assert "event loop" in lag
    (cpu,) = judge([0.001] * 500, cpu_s=7.0, wall_s=10.0).invalid_reasons
    assert "70%" in cpu


def report(
    health: ClientHealth, failures: list[list[RequestFailed]], ended: signal.Signals | None = None
) -> Report:
    return Report("llm", {}, {}, health, ended, count_errors(failures), {}, [])


def test_the_exit_code_follows_the_errors_and_the_interrupt() -> None:
    health = judge([], 0.0, 1.0)
    failures = [[RequestFailed("cut", "x")], [], [], []]
    assert report(health, failures).exit_code(0.25) == 0
    assert report(health, failures).exit_code(0.2) == 1
    assert report(health, [], signal.SIGTERM).exit_code(0.2) == 143


def test_an_attempt_with_two_failures_counts_once_in_the_rate() -> None:
    errors = count_errors(
        [[RequestFailed("a", "1"), RequestFailed("b", "2")], [RequestFailed("a", "3")], [], []]
    )
    assert (errors.count, errors.rate, errors.by_kind, errors.examples) == (
        3,
        0.5,
        {"a": 2, "b": 1},
        {"a": "1", "b": "2"},
    )


def test_the_document_says_whether_it_may_be_believed(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    report(judge([0.020] * 100, 0.0, 1.0), []).write(file)
    document = orjson.loads(file.read_bytes())
    assert document["schema_version"] == 1
    assert document["valid"] is False
    assert len(document["invalid_reasons"]) == 1
    assert document["partial"] is False
