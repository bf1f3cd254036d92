"""The gateway as a process: its settings, limits, readiness and end, in the foreground and under gunicorn."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.gateway_process import (
    GatewayProcess,
    Heard,
    environment,
    free_port,
    gateway,
    hear,
    piper_engine,
    send,
    spawn,
    start,
)


async def fatal(websocket: ClientConnection) -> tuple[dict[str, Any], int]:
    """The last error told, and the close code."""
    last: dict[str, Any] = {}
    try:
        while True:
            received = await websocket.recv()
            last = json.loads(received) if isinstance(received, str) else last
    except ConnectionClosed:
        assert websocket.close_code is not None
        return last, websocket.close_code


def run(*flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tts_gateway", *flags],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("flags", "variables", "says"),
    [
        (["--port", "seventy"], {}, "--port='seventy'"),
        ([], {"TTS_GATEWAY_PORT": "70000"}, "TTS_GATEWAY_PORT='70000'"),
        ([], {"TTS_GATEWAY_ENGINE": "flute"}, "'piper' or 'dummy'"),
        ([], {"TTS_GATEWAY_AHAED_MS": "1"}, "TTS_GATEWAY_AHAED_MS is no setting"),
        (["--host", "fe80::1%nosuch", "--port", "0"], {}, "cannot listen on fe80::1%nosuch:0"),
    ],
)
def test_a_bad_setting_is_one_clear_line(flags: list[str], variables: dict[str, str], says: str) -> None:
    result = run(*flags, **variables)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("--port", str(taken.getsockname()[1]))
    assert result.returncode == 2
    assert "Address already in use" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_lists_the_settings() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "--max-sessions-per-consumer" in result.stdout


async def test_a_consumer_over_its_limit_is_told_busy(tmp_path: Path) -> None:
    with gateway(tmp_path, "--engine", "dummy", "--max-sessions-per-consumer", "1") as served:
        ann, bob = ({"X-Consumer": name} for name in ("ann", "bob"))
        async with connect(served.url, additional_headers=ann, proxy=None) as first:
            assert (await start(first))["type"] == "started"
            async with connect(served.url, additional_headers=ann, proxy=None) as second:
                error, code = await fatal(second)
            async with connect(served.url, additional_headers=bob, proxy=None) as other:
                assert (await start(other))["type"] == "started"
        assert (error["code"], error["fatal"], code) == ("busy", True, 1013)
        assert error["retry_after_ms"] > 0


async def test_a_full_host_is_busy_until_a_place_is_free(tmp_path: Path) -> None:
    with gateway(tmp_path, "--engine", "dummy", "--max-sessions", "1") as served:
        async with connect(served.url, proxy=None) as first:
            await start(first)
            async with connect(served.url, proxy=None) as second:
                assert (await fatal(second))[0]["code"] == "busy"
        served.wait_until_empty()
        async with connect(served.url, proxy=None) as third:
            assert (await start(third))["type"] == "started"


@pytest.mark.parametrize(
    ("flag", "begin", "code"),
    [
        ("--start-timeout-s", False, "start_timeout"),
        ("--idle-timeout-s", True, "idle_timeout"),
        ("--session-life-s", True, "session_expired"),
    ],
)
async def test_time_limits_end_a_session(tmp_path: Path, flag: str, begin: bool, code: str) -> None:
    with gateway(tmp_path, "--engine", "dummy", flag, "0.2") as served:
        async with connect(served.url, proxy=None) as websocket:
            if begin:
                await start(websocket)
            error, close_code = await fatal(websocket)
    assert (error["code"], close_code) == (code, 1008)


async def test_a_client_that_reads_nothing_is_cut_off(tmp_path: Path) -> None:
    flags = ("--engine", "dummy", "--send-timeout-s", "0.3", "--max-ahead-ms", "3600000")
    with gateway(tmp_path, *flags) as served:
        # Nothing is read beyond a small window: the rest stays with the server.
        async with connect(served.url, proxy=None, max_queue=1) as websocket:
            audio = {"encoding": "pcm_s16le", "sample_rate": 48000}
            await start(websocket, ahead_ms=3600000, audio=audio)
            await send(websocket, "text", text="a" * 19000)
            await send(websocket, "flush")
            await asyncio.to_thread(served.wait_until_empty)
            websocket.transport.abort()
        assert served.metric("tts_gateway_errors_total", code="send_timeout") == 1


async def test_without_an_engine_it_lives_but_is_not_ready(tmp_path: Path) -> None:
    with gateway(tmp_path, "--engine-target", f"unix:{tmp_path}/none.sock") as served:
        assert served.get("/healthz")[0] == 200
        status, body = served.get("/readyz")
        assert (status, json.loads(body)["code"]) == (503, "engine_unavailable")
        assert served.get("/v1/voices")[0] == 503
        async with connect(served.url, proxy=None) as websocket:
            await send(websocket, "start")
            error, close_code = await fatal(websocket)
        assert (error["code"], error["retry_after_ms"] > 0, close_code) == ("engine_unavailable", True, 1013)
        assert "Traceback" not in served.process.errors.read_text()


async def test_an_engine_that_dies_is_told_and_one_that_returns_is_used(tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/engine.sock"
    with gateway(tmp_path, "--engine-target", target) as served:
        with piper_engine(tmp_path) as engine:
            await asyncio.to_thread(served.wait_until_ready)
            async with connect(served.url, proxy=None) as websocket:
                await start(websocket)
                await send(websocket, "text", text="It is late, and we still have far to go. " * 20)
                await hear(websocket, "audio")
                engine.process.popen.kill()
                error, close_code = await fatal(websocket)
            assert (error["code"], close_code) == ("engine_unavailable", 1013)
        with piper_engine(tmp_path):
            await asyncio.to_thread(served.wait_until_ready)
            async with connect(served.url, proxy=None) as websocket:
                await start(websocket)
                await send(websocket, "text", text="Good morning.")
                await send(websocket, "end")
                assert (await hear(websocket, "done")).samples > 0
        assert "Traceback" not in served.process.errors.read_text()


@contextmanager
def gunicorn(tmp_path: Path) -> Iterator[GatewayProcess]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:tts_gateway.gunicorn_conf"]
    variables = {
        "TTS_GATEWAY_ENGINE": "dummy",
        "TTS_GATEWAY_PORT": str(port),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
    }
    with spawn(command, tmp_path, "gunicorn", variables) as process:
        served = GatewayProcess(process, port)
        served.wait_until_ready()
        yield served


@contextmanager
def foreground(tmp_path: Path) -> Iterator[GatewayProcess]:
    with gateway(tmp_path, "--engine", "dummy") as served:
        yield served


@pytest.mark.parametrize("serve", [foreground, gunicorn])
async def test_sigterm_lets_the_speaker_finish_and_closes_with_1012(serve: Any, tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        async with connect(served.url, proxy=None) as speaking, connect(served.url, proxy=None) as quiet:
            await start(quiet)
            await start(speaking, ahead_ms=400)
            await send(speaking, "text", text="a" * 40)
            await send(speaking, "end")
            heard = await hear(speaking, "audio")
            served.process.popen.send_signal(signal.SIGTERM)
            error, close_code = await fatal(quiet)
            assert (error["code"], close_code) == ("shutting_down", 1012)
            await hear(speaking, "done", heard)
            assert heard.samples == 40 * 22050 // 20
            assert (await fatal(speaking))[1] == 1012
        await asyncio.to_thread(served.process.popen.wait, 30)
        log = served.process.errors.read_text()
        assert "Traceback" not in log
        assert all(json.loads(line)["event"] for line in log.splitlines())


async def test_the_drain_is_bounded(tmp_path: Path) -> None:
    with gateway(tmp_path, "--engine", "dummy", "--drain-s", "0.2") as served:
        async with connect(served.url, proxy=None) as speaking:
            await start(speaking, ahead_ms=400)
            await send(speaking, "text", text="a" * 2000)
            await send(speaking, "end")
            await hear(speaking, "audio")
            served.process.popen.send_signal(signal.SIGTERM)
            error, close_code = await fatal(speaking)
        assert (error["code"], close_code) == ("shutting_down", 1012)


async def test_gunicorn_serves_sessions_and_metrics(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as served:
        async with connect(served.url, proxy=None) as websocket:
            await start(websocket)
            await send(websocket, "text", text="Hello.")
            await send(websocket, "end")
            await hear(websocket, "done")
            assert served.metric("tts_gateway_sessions_active") == 1
        served.wait_until_empty()
        assert served.metric("tts_gateway_sessions_total") == 1
        master = served.process.popen.pid
        assert list((tmp_path / "metrics").glob("*.db"))
        assert not list((tmp_path / "metrics").glob(f"*_{master}.db"))


def test_gunicorn_names_a_bad_setting(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "python:tts_gateway.gunicorn_conf"],
        env=environment(TTS_GATEWAY_IDLE_TIMEOUT_S="soon"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert "TTS_GATEWAY_IDLE_TIMEOUT_S='soon'" in result.stderr
    assert "Traceback" not in result.stderr


async def test_a_full_engine_serves_a_session_whole_or_tells_it_busy(tmp_path: Path) -> None:
    text = "It is late. We have far to go. The night is cold. Let us be quick."

    async def speak(url: str) -> str:
        async with connect(url, proxy=None) as websocket:
            await start(websocket)
            await send(websocket, "text", text=text)
            await send(websocket, "end")
            heard = Heard()
            while (received := heard.take(await websocket.recv())) not in ("done", "error"):
                pass
            if received == "done":
                assert heard.messages[-1]["text_offset"] == len(text)
                return received
            assert not heard.frames
            return str(heard.messages[-1]["code"])

    with (
        piper_engine(tmp_path, "--max-streams", "2") as engine,
        gateway(tmp_path, "--engine-target", engine.target) as served,
    ):
        await asyncio.to_thread(served.wait_until_ready)
        outcomes = await asyncio.gather(*(speak(served.url) for _ in range(12)))
    assert set(outcomes) == {"done", "busy"}
