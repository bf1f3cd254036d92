"""``bench llm`` and ``bench talk --no-speech``, as processes, against a chat server with known answers."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration import bench_chat_server
from tests.integration.bench_chat_server import ChatServer, serving
from tests.integration.bench_command import bench, finish, read_report, start_bench


@pytest.fixture
async def server() -> AsyncIterator[ChatServer]:
    async with serving(ChatServer()) as running:
        yield running


async def test_counts_times_and_tokens_are_the_servers(server: ChatServer, tmp_path: Path) -> None:
    report_file = tmp_path / "llm.json"
    outcome = await bench(
        "llm", "--url", server.url, "--concurrency", "5", "--total", "70", "--output-json", report_file
    )
    assert outcome.code == 0, outcome.stderr
    assert len(server.bodies) == 70 + 5
    assert server.most_running == 5

    report = read_report(report_file)
    results = report["results"]
    assert (results["requests_sent"], results["requests_complete"]) == (70, 70)
    assert results["output_tokens"] == 70 * bench_chat_server.TOKENS
    assert results["input_tokens"] == 70 * bench_chat_server.INPUT_TOKENS
    assert results["cached_tokens"] == 70 * bench_chat_server.CACHED_TOKENS
    assert results["ttft_ms"]["n"] == 70
    # A sleep never ends early, so the server's own times are floors; the ceilings only catch a wrong unit.
    assert 1000 * bench_chat_server.TTFT_S <= results["ttft_ms"]["min"] < 2000
    assert 1000 * bench_chat_server.ITL_S * 0.9 <= results["tpot_ms"]["p50"] < 500
    assert results["chunk_gap_ms"]["n"] == 70 * (bench_chat_server.TOKENS - 1)
    for detail in report["details"]:
        assert (
            detail["ttft_ms"] + (bench_chat_server.TOKENS - 1) * detail["tpot_ms"] <= detail["e2e_ms"] + 0.1
        )


async def test_a_quantile_the_sample_cannot_carry_is_not_told(server: ChatServer, tmp_path: Path) -> None:
    report_file = tmp_path / "llm.json"
    outcome = await bench(
        "llm", "--url", server.url, "--concurrency", "10", "--total", "50", "--output-json", report_file
    )
    ttft = read_report(report_file)["results"]["ttft_ms"]
    assert ttft["p50"] is not None
    assert ttft["p90"] is None
    assert ttft["unsupported"]["p90"] == "n = 50, needs 64"
    assert "n/a (n = 50)" in outcome.stdout


async def test_the_report_tells_how_it_came_about_and_holds_no_key(
    server: ChatServer, tmp_path: Path
) -> None:
    server.key = "very-secret"
    report_file = tmp_path / "llm.json"
    arguments = ("llm", "--url", server.url, "--total", "3", "--seed", "7", "--output-json", report_file)
    outcome = await bench(*arguments, key="very-secret")
    assert outcome.code == 0, outcome.stderr
    assert "very-secret" not in outcome.stdout + outcome.stderr + report_file.read_text()
    report = read_report(report_file)
    assert report["schema_version"] == 1
    assert report["fingerprint"]["seed"] == 7
    assert report["fingerprint"]["arguments"]["model"] == bench_chat_server.MODEL
    assert {"aiohttp", "python", "uvloop"} <= report["fingerprint"]["client_versions"].keys()
    assert {"host_cpu", "kernel", "started_at", "input_sha256"} <= report["fingerprint"].keys()
    assert report["valid"] == (not report["invalid_reasons"])
    assert report["client_health"]["loop_lag_samples"] > 0


async def test_the_same_seed_asks_the_same(server: ChatServer) -> None:
    asked = []
    for seed in ("1", "1", "2"):
        server.bodies.clear()
        await bench("llm", "--url", server.url, "--concurrency", "1", "--total", "6", "--seed", seed)
        asked.append([body["messages"] for body in server.bodies])
    assert asked[0] == asked[1] != asked[2]


async def test_every_failure_is_counted_by_its_kind(server: ChatServer, tmp_path: Path) -> None:
    faults = ["http_401", "http_503", "http_503", "cut", "garbage", "server_error", "no_done", "none"]
    server.faults = list(faults)
    report_file = tmp_path / "llm.json"
    arguments = (
        "--concurrency",
        "2",
        "--total",
        str(len(faults)),
        "--warmup",
        "0",
        "--output-json",
        report_file,
    )
    outcome = await bench("llm", "--url", server.url, *arguments)
    assert outcome.code == 1
    report = read_report(report_file)
    expected = Counter("cut" if fault == "no_done" else fault for fault in faults if fault != "none")
    assert report["errors"]["by_kind"] == expected
    assert report["errors"]["rate"] == pytest.approx(7 / 8)
    assert report["results"]["requests_complete"] == 1
    assert report["results"]["ttft_ms"]["n"] == 1
    assert "2 × http_503" in outcome.stdout


async def test_errors_within_the_limit_are_no_failure(server: ChatServer) -> None:
    server.faults = ["http_503"]
    arguments = ("--total", "4", "--warmup", "0", "--max-error-rate", "0.25")
    assert (await bench("llm", "--url", server.url, *arguments)).code == 0


async def test_without_usage_no_token_is_invented(server: ChatServer, tmp_path: Path) -> None:
    server.faults = ["no_usage"] * 4
    report_file = tmp_path / "llm.json"
    outcome = await bench(
        "llm", "--url", server.url, "--total", "4", "--warmup", "0", "--output-json", report_file
    )
    assert outcome.code == 0
    results = read_report(report_file)["results"]
    assert results["requests_without_usage"] == 4
    assert results["output_tokens"] is None
    assert results["output_token_rate_per_s"] is None
    assert results["tpot_ms"]["n"] == 0
    assert results["ttft_ms"]["n"] == 4
    assert "without usage" in outcome.stdout


async def test_a_tool_call_is_a_first_fragment_but_no_first_text(server: ChatServer, tmp_path: Path) -> None:
    server.faults = ["tool_call"] * 3
    report_file = tmp_path / "llm.json"
    await bench("llm", "--url", server.url, "--total", "3", "--warmup", "0", "--output-json", report_file)
    results = read_report(report_file)["results"]
    assert results["ttft_ms"]["min"] >= 1000 * bench_chat_server.TTFT_S
    assert results["ttfo_ms"]["n"] == 0


async def test_prompts_come_from_a_file_with_what_else_it_says(server: ChatServer, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        '{"prompt": "Hi"}\n{"messages": [{"role": "user", "content": "Ho"}], "max_tokens": 5}\n'
    )
    await bench(
        "llm", "--url", server.url, "--total", "2", "--warmup", "0", "--prompts", prompts, "--max-tokens", "9"
    )
    sent = {body["messages"][0]["content"]: body["max_tokens"] for body in server.bodies}
    assert sent == {"Hi": 9, "Ho": 5}
    assert all(body["stream_options"] == {"include_usage": True} for body in server.bodies)


async def test_ctrl_c_leaves_a_partial_report(server: ChatServer, tmp_path: Path) -> None:
    server.faults = ["none", "none"] + ["hang"] * 50
    report_file = tmp_path / "llm.json"
    process = await start_bench(
        "llm",
        "--url",
        server.url,
        "--concurrency",
        "2",
        "--total",
        "20",
        "--warmup",
        "0",
        "--output-json",
        report_file,
    )
    while len(server.bodies) < 4:  # two are answered, two hang
        await asyncio.sleep(0.01)
        assert process.returncode is None
    process.send_signal(signal.SIGINT)
    outcome = await finish(process)
    assert outcome.code == 128 + signal.SIGINT
    assert "PARTIAL" in outcome.stdout
    report = read_report(report_file)
    assert report["partial"] is True
    assert report["partial_reason"] == "interrupted by SIGINT"
    assert report["results"]["requests_complete"] == 2
    assert report["results"]["requests_cut_by_interrupt"] == 2


async def test_a_refused_connection_says_so(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = await bench("llm", "--url", f"http://127.0.0.1:{unused.getsockname()[1]}", "--model", "m")
    assert outcome.code == 3
    assert "nothing listens" in outcome.stderr


async def test_a_refused_key_names_its_file(server: ChatServer, tmp_path: Path) -> None:
    server.key = "right"
    key_file = tmp_path / "my.key"
    key_file.write_text("wrong\n")
    outcome = await bench("llm", "--url", server.url, "--api-key-file", key_file)
    assert outcome.code == 3
    assert f"the key in {key_file} was refused" in outcome.stderr
    assert "wrong" not in outcome.stderr.replace("wrong key", "")
    outcome = await bench("llm", "--url", server.url)
    assert outcome.code == 3
    assert "--api-key-file FILE" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url", "localhost:1"], "https"),
        (["--url", "https://user:key@host"], "--api-key-file"),
        (["--url", "http://localhost:1", "--total", "0"], "at least 1"),
        (["--url", "http://localhost:1", "--api-key-file", "/nowhere/key"], "/nowhere/key"),
        (["--url", "http://localhost:1", "--ca-file", "/nowhere/ca"], "/nowhere/ca"),
        (["--url", "http://localhost:1", "--prompts", "/nowhere/p"], "/nowhere/p"),
        (["--url", "http://localhost:1", "--output-json", "/nowhere/r.json"], "/nowhere"),
    ],
)
async def test_wrong_usage_is_told_before_anything_is_sent(arguments: list[str], told: str) -> None:
    outcome = await bench("llm", *arguments)
    assert outcome.code == 2
    assert told in outcome.stderr


async def test_talk_without_speech_shows_the_answer(server: ChatServer) -> None:
    outcome = await bench("talk", "--url", server.url, "--question", "Hi?", "--no-speech")
    assert outcome.code == 0, outcome.stderr
    assert "".join(f"word{n}. " for n in range(bench_chat_server.TOKENS)) in outcome.stdout
    assert "TTFT" in outcome.stdout
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Hi?"}]


@pytest.mark.parametrize("command", [[], ["llm"], ["tts"], ["talk"]])
async def test_help_shows_an_example(command: list[str]) -> None:
    outcome = await bench(*command, "--help")
    assert outcome.code == 0
    assert "example:\n  bench" in outcome.stdout
    assert "exit codes:" in outcome.stdout
