"""The services in the foreground, by the README's own commands, on their own ports."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.readme import Block, blocks

TOP = Path(__file__).parents[2]
FOREGROUND = [block for block in blocks() if "-m tts_" in block.code]
READY = {"tts_gateway": "ws://127.0.0.1:9000/tts", "tts_engine": "event=ready"}
START_TIMEOUT_S = 60.0


@pytest.mark.parametrize("block", FOREGROUND, ids=str)
def test_a_service_runs_in_the_foreground(block: Block, tmp_path: Path) -> None:
    ready = next(line for module, line in READY.items() if f"-m {module}" in block.code)
    log = tmp_path / "log"
    with log.open("w") as out:
        service = subprocess.Popen(
            ["bash", "-c", "exec env " + block.code], cwd=TOP, stdout=out, stderr=out, env=os.environ
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while ready not in log.read_text():
            assert service.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)


def test_both_services_are_there() -> None:
    assert len(FOREGROUND) == len(READY)
