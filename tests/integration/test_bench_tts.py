"""``bench tts`` and ``bench talk``, as processes, against the real gateway with its dummy engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.bench_chat_server import TOKENS, ChatServer, serving
from tests.integration.bench_command import REPOSITORY, bench, finish, read_report, start_bench

ANSWER = "".join(f"word{n}. " for n in range(TOKENS))

# The dummy engine speaks every character, blanks too, for exactly this long.
CHAR_S = 0.050


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.fixture
async def gateway() -> AsyncIterator[str]:
    """The URL of a gateway of its own, on a free port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tts_gateway", "--port", "0", "--engine", "dummy", "--max-sessions", "8"),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env={k: v for k, v in os.environ.items() if not k.startswith("TTS_GATEWAY_")},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        yield next(word for word in line.split() if word.startswith("ws://"))
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.communicate()


async def test_baseline_counts_what_was_typed_and_heard(gateway: str, tmp_path: Path) -> None:
    report_file = tmp_path / "tts.json"
    arguments = ("--concurrency", "4", "--cps", "40", "--duration", "6", "--output-json", report_file)
    outcome = await bench("tts", "--url", gateway, *arguments)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    report = read_report(report_file)
    results = report["results"]
    assert (results["sessions"], results["sessions_complete"]) == (4, 4)
    assert report["errors"]["count"] == 0
    assert results["position_errors"] == 0
    assert results["characters_typed"] > 4 * 100
    assert results["audio_s"] == pytest.approx(results["characters_typed"] * CHAR_S, abs=0.01)
    assert results["ttfa_commit_ms"]["n"] == results["utterances"]
    assert 0 < results["ttfa_commit_ms"]["p50"] < 2000
    # Every character is heard after it was sent, wherever it lies in its sentence.
    assert results["char_to_sound_ms"]["min"] > 0


async def test_typing_slower_than_speech_starves_the_player_and_is_no_stall(
    gateway: str, tmp_path: Path
) -> None:
    report_file = tmp_path / "tts.json"
    # At half the speed of speech, and long enough for a sentence to be over: the player waits for the typist.
    arguments = ("--concurrency", "2", "--cps", "10", "--duration", "12", "--output-json", report_file)
    outcome = await bench("tts", "--url", gateway, *arguments)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    results = read_report(report_file)["results"]
    assert results["input_starvation_ms"]["n"] >= 1
    assert results["input_starvation_ms"]["max"] > 100


async def test_a_full_server_is_counted_by_its_code(gateway: str, tmp_path: Path) -> None:
    report_file = tmp_path / "tts.json"
    arguments = ("--concurrency", "12", "--cps", "20", "--duration", "3", "--output-json", report_file)
    outcome = await bench("tts", "--url", gateway, *arguments)
    assert outcome.code == 1
    report = read_report(report_file)
    assert report["errors"]["by_kind"] == {"busy": 4}
    assert report["results"]["sessions_complete"] == 8


async def test_an_unknown_voice_is_told(gateway: str, tmp_path: Path) -> None:
    outcome = await bench(
        "tts", "--url", gateway, "--concurrency", "1", "--duration", "1", "--voice", "nobody"
    )
    assert outcome.code == 1
    assert "unknown_voice" in outcome.stdout


async def test_ctrl_c_leaves_a_partial_report(gateway: str, tmp_path: Path) -> None:
    report_file = tmp_path / "tts.json"
    arguments = ("--concurrency", "2", "--duration", "600", "--cps", "50", "--output-json", report_file)
    process = await start_bench("tts", "--url", gateway, *arguments)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        await process.stderr.readline()  # the first line of progress: it types
    process.send_signal(signal.SIGINT)
    outcome = await finish(process)
    assert outcome.code == 128 + signal.SIGINT
    report = read_report(report_file)
    assert report["partial"] is True
    assert report["results"]["sessions_cut_by_interrupt"] == 2
    assert report["results"]["frames"] > 0
    assert report["errors"]["count"] == 0


async def test_talk_writes_the_answer_and_its_sound(gateway: str, tmp_path: Path) -> None:
    wav = tmp_path / "answer.wav"
    async with serving(ChatServer(key="k")) as server:
        arguments = ("--tts-url", gateway, "--question", "Hi?", "--wav", wav)
        outcome = await bench("talk", "--url", server.url, *arguments, key="k")
    assert outcome.code == 0, outcome.stderr
    assert ANSWER in outcome.stdout
    for name in ("TTFT", "tokens/s", "time to first audio", "audio", f"WAV                  {wav}"):
        assert name in outcome.stdout
    with wave.open(str(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
        assert file.getnframes() / file.getframerate() == pytest.approx(len(ANSWER) * CHAR_S, abs=0.01)
    assert files_in(tmp_path) == [wav]


async def test_talk_that_breaks_leaves_no_half_file(gateway: str, tmp_path: Path) -> None:
    async with serving(ChatServer(faults=["cut"])) as server:
        wav = tmp_path / "answer.wav"
        arguments = ("--tts-url", gateway, "--question", "Hi?", "--wav", wav)
        outcome = await bench("talk", "--url", server.url, *arguments)
    assert outcome.code == 1
    assert "cut" in outcome.stderr
    assert files_in(tmp_path) == []


async def test_talk_names_the_side_that_is_missing(tmp_path: Path) -> None:
    async with serving(ChatServer()) as server:
        arguments = ("--tts-url", "ws://127.0.0.1:9", "--question", "Hi?", "--wav", tmp_path / "a.wav")
        outcome = await bench("talk", "--url", server.url, *arguments)
    assert outcome.code == 3
    assert "nothing listens at 127.0.0.1:9" in outcome.stderr
