"""``bench engine`` with a real engine, real baselines and a real voice; and what it says where it cannot."""

from __future__ import annotations

import asyncio
import math
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.engine_clients import BaselineClient, EngineClient
from bench.engine_contest import Contest
from bench.engine_plan import QUICK
from bench.engine_run import Cell, EngineRun
from bench.engine_voice import find_voice
from tests.integration.bench_command import bench, finish, read_report, start_bench
from tests.integration.engine_process import VOICE, VOICES_DIR, running_engine
from tests.readme import block

HEADLINE = ("ttfa_ratio_60", "ttfa_p95_ratio_c8", "throughput_ratio", "snr_db")


@pytest.fixture(autouse=True)
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every process that bench starts has this directory in its arguments: none may be there at the end."""
    with tempfile.TemporaryDirectory(prefix="b-") as directory:  # a short one: sockets lie in it
        monkeypatch.setenv("TMPDIR", directory)
        yield
        assert processes_of(directory) == []
        assert list(Path(directory).glob("bench-*")) == []


def processes_of(directory: str) -> list[str]:
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return [command for command in commands if directory in command]


def test_processes_are_found_by_their_directory(tmp_path: Path) -> None:
    with running_engine(listen=f"unix:{tmp_path}/e"):
        assert len(processes_of(str(tmp_path))) == 1


async def test_the_readmes_quick_run_has_the_whole_headline(tmp_path: Path) -> None:
    report_file, plot_file = tmp_path / "engine.json", tmp_path / "engine.svg"
    command, *arguments = shlex.split(block("Measure it", 1).code)
    assert command == ".venv/bin/bench"
    files = {"engine.json": str(report_file), "engine.svg": str(plot_file)}
    outcome = await bench(*(files.get(argument, argument) for argument in arguments))
    assert outcome.code == 0, outcome.stderr + outcome.stdout
    assert plot_file.read_bytes().startswith(b"<?xml")
    report = read_report(report_file)
    assert report["schema_version"] == 1
    assert report["kind"] == "engine"
    assert not report["partial"]
    for name in HEADLINE:
        assert math.isfinite(report[name])
        assert report[name] > 0
    assert report["errors"]["count"] == 0
    cells = {(row["server"], row["characters"], row["concurrency"]): row for row in report["details"]}
    for server in ("ours", "stock"):
        assert cells[server, 60, 1]["ttfa_ms"]["n"] >= 7
        assert cells[server, 60, 8]["ttfa_ms"]["n"] >= 16
        assert cells[server, 60, 8]["cpu_s_per_audio_s"] > 0
        assert report["results"]["peak_rss_mib"][server] > 50
    for row in report["details"]:
        times = row["ttfa_ms"]
        assert 0 < times["min"] <= times["p50"] <= times["p95"] <= times["max"]
    rounds = report["results"]["throughput_ratio_of_rounds"]
    assert rounds["n"] >= 3
    assert 0 < rounds["min"] <= report["throughput_ratio"] <= rounds["max"]
    assert {"piper-tts", "onnxruntime", "numpy"} <= report["fingerprint"]["server_versions"].keys()
    # Both spoke the same: a wrong text, voice or scale shows here as noise as loud as the speech.
    assert report["snr_db"] > 30
    assert "of onnxruntime alone" in outcome.stdout


async def test_ctrl_c_while_the_servers_start_stops_them() -> None:
    process = await start_bench("engine", "--quick")
    await asyncio.wait_for(started_processes(3), 60)
    process.send_signal(signal.SIGINT)
    outcome = await finish(process)
    assert outcome.code == 130, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "PARTIAL: the run was ended early by SIGINT" in outcome.stdout


async def test_sigterm_under_load_reports_what_there_is(tmp_path: Path) -> None:
    report_file, plot_file = tmp_path / "engine.json", tmp_path / "engine.png"
    process = await start_bench("engine", "--quick", "--output-json", report_file, "--plot", plot_file)
    assert process.stderr is not None
    async for line in process.stderr:
        if b"8 callers" in line:
            break
    process.send_signal(signal.SIGTERM)
    outcome = await finish(process)
    assert outcome.code == 143, outcome.stderr
    assert "Traceback" not in outcome.stderr
    report = read_report(report_file)
    assert report["partial"]
    assert report["ttfa_ratio_60"] > 0
    assert report["throughput_ratio"] is None
    assert plot_file.exists()


async def test_a_killed_bench_takes_its_processes_along() -> None:
    process = await start_bench("engine", "--quick")
    await asyncio.wait_for(started_processes(3), 60)
    process.kill()
    await process.wait()
    await asyncio.wait_for(started_processes(0), 60)
    remove_sockets()  # nobody was left to do it


def remove_sockets() -> None:
    for directory in Path(os.environ["TMPDIR"]).glob("bench-*"):
        shutil.rmtree(directory)


async def started_processes(count: int) -> None:
    """Wait until there are so many."""
    while len(processes_of(os.environ["TMPDIR"])) != count:  # noqa: ASYNC110 - they set no event of ours
        await asyncio.sleep(0.05)


async def test_callers_that_are_turned_away_come_back_and_their_time_runs_on(tmp_path: Path) -> None:
    result, cell = EngineRun(), Cell()
    with running_engine("--max-streams", "1") as engine:
        ours, none = EngineClient(engine.target, VOICE), BaselineClient(tmp_path / "none")
        contest = Contest(find_voice(VOICES_DIR, VOICE), ours, none, none, {}, QUICK, result)
        failed = await contest.ask_all("ours", cell, ["I will be back soon."] * 4, 4, None)
        await ours.close()
    assert not failed
    assert cell.turned_away >= 3
    assert len(cell.ttfa_ms) == cell.requests == 4
    assert max(cell.ttfa_ms) > min(cell.ttfa_ms) + 100  # the engine's shortest hint


async def test_an_engine_that_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    config = next(VOICES_DIR.glob("*.onnx.json"))
    (tmp_path / "broken.onnx.json").write_bytes(config.read_bytes())
    outcome = await bench("engine", "--voices", tmp_path)
    assert outcome.code == 3
    assert "the engine did not start (exit status 1)" in outcome.stderr
    assert "tts-engine: " in outcome.stderr  # its own reason


async def test_an_address_where_nobody_listens(tmp_path: Path) -> None:
    outcome = await bench("engine", "--target", f"unix:{tmp_path}/none")
    assert outcome.code == 3
    assert f"the engine at unix:{tmp_path}/none does not answer: is it running" in outcome.stderr


async def test_a_running_engine_without_the_voice(tmp_path: Path) -> None:
    for kind in (".onnx", ".onnx.json"):
        source = next(file for file in VOICES_DIR.iterdir() if file.name.endswith(f"medium{kind}"))
        (tmp_path / f"other{kind}").symlink_to(source)
    with running_engine() as engine:
        outcome = await bench("engine", "--target", engine.target, "--voices", tmp_path)
    assert outcome.code == 3
    assert f"the engine at {engine.target} has no voice 'other'" in outcome.stderr


async def test_wrong_usage(tmp_path: Path) -> None:
    for arguments, complaint in (
        (("--voices", tmp_path), "holds no voice"),
        (("--voice", "nobody"), "--voice nobody is not in"),
        (("--output-json", tmp_path / "gone" / "x.json"), "does not exist"),
        (("--plot", tmp_path / "x.gif"), "must end in .svg or .png"),
        (("--target", "h:1", "--precision", "bf16"), "not allowed with argument"),
    ):
        outcome = await bench("engine", *arguments)
        assert outcome.code == 2, outcome
        assert complaint in outcome.stderr
