"""Cut graphs on disk: made once, used again, made again where they are damaged."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tts_engine.audio import Samples
from tts_engine.model import Model, Scales
from tts_engine.model_cache import MODEL_ERRORS, ModelCache
from tts_engine.runtime import Runtime

from tests import voices

VOICE = voices.tiny()
TRIAL_IDS = voices.ids(10)
DEADLINE_S = 60.0  # a hung process fails the test; a slow machine does not

# Load the voice by way of the cache in argv[1], and print how it speaks.
LOAD = """
import sys
from pathlib import Path
from tests.unit.test_engine_model_cache import load, speech
print(speech(load(Path(sys.argv[1]))).tobytes().hex())
"""

# Die with one of the two graphs written.
DIE = """
import os, signal, sys
from pathlib import Path
from tts_engine import model_cache, runtime
from tests.unit.test_engine_model_cache import TRIAL_IDS, VOICE

class Dying(runtime.Runtime):
    def optimise(self, graph, file):
        super().optimise(graph, file)
        os.kill(os.getpid(), signal.SIGKILL)

model_cache.ModelCache(Path(sys.argv[1]), Dying()).load(VOICE, TRIAL_IDS)
"""


def load(directory: Path | None, content: bytes = VOICE) -> Model:
    return ModelCache(directory, Runtime()).load(content, TRIAL_IDS)


def speech(model: Model) -> Samples:
    scales = Scales(noise=0.5, length=1.0, noise_w=0.5)
    return np.concatenate(list(model.render(TRIAL_IDS, scales, None, (1, 2)).windows()))


def process(program: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=Path(__file__).parents[2],
    )


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0].removeprefix("event=") for record in caplog.records]


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tts_engine")


@pytest.fixture
def kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> tuple[Path, Samples]:
    """A cache with one model, and what that model spoke when it was made."""
    directory = tmp_path / "made" / "by" / "it"
    spoken = speech(load(directory))
    assert events(caplog) == ["model_cut"]
    caplog.clear()
    return directory, spoken


def only_folder(directory: Path) -> Path:
    (folder,) = directory.iterdir()
    return folder


def test_a_model_is_kept_and_used_again(kept: tuple[Path, Samples], caplog: pytest.LogCaptureFixture) -> None:
    directory, spoken = kept
    before = {file: file.stat().st_mtime_ns for file in only_folder(directory).iterdir()}
    model = load(directory)
    assert model.is_windowed
    assert events(caplog) == []
    assert np.array_equal(speech(model), spoken)
    assert {file: file.stat().st_mtime_ns for file in only_folder(directory).iterdir()} == before


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: flip(folder / "decoder.onnx"), id="flipped"),
        pytest.param(lambda folder: os.truncate(folder / "encoder.onnx", 1000), id="truncated"),
        pytest.param(lambda folder: (folder / "encoder.onnx").unlink(), id="missing"),
        pytest.param(lambda folder: (folder / "layout.json").write_text("{"), id="no-layout"),
        pytest.param(lambda folder: (folder / "layout.json").write_text("{}"), id="empty-layout"),
    ],
)
def test_what_is_damaged_is_made_again(
    kept: tuple[Path, Samples], damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    directory, spoken = kept
    damage(only_folder(directory))
    assert np.array_equal(speech(load(directory)), spoken)
    assert events(caplog) == ["cache_dropped", "model_cut"]
    caplog.clear()
    load(directory)
    assert events(caplog) == []


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    model = load(tmp_path / "file" / "cache")
    assert model.is_windowed
    assert len(speech(model))
    assert events(caplog) == ["cache_unusable", "model_cut"]
    assert "Not a directory" in caplog.text


def test_no_cache_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = load(None)
    assert list(tmp_path.iterdir()) == []
    assert len(speech(model))


def test_a_graph_that_cannot_be_cut_is_served_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load(tmp_path / "cache", voices.tiny(noise=False))
    assert not model.is_windowed
    assert len(speech(model)) > 100
    assert events(caplog) == ["model_served_whole"]
    assert "1 sources of noise, 0 of them latent" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("content", [b"junk", b"\x08", VOICE[:5000]])
def test_what_is_no_model_is_an_error_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MODEL_ERRORS):
        load(tmp_path, content)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_at_once(tmp_path: Path) -> None:
    processes = [process(LOAD, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=DEADLINE_S)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1] != ""
    assert sorted(file.name for file in only_folder(tmp_path).iterdir()) == [
        "decoder.onnx",
        "encoder.onnx",
        "flow.onnx",
        "layout.json",
    ]


def test_what_a_killed_process_left_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dying = process(DIE, tmp_path)
    dying.communicate(timeout=DEADLINE_S)
    assert dying.returncode == -signal.SIGKILL
    left = only_folder(tmp_path)
    assert [file.name for file in left.iterdir()] == ["encoder.onnx"]
    load(tmp_path)
    assert events(caplog) == ["model_cut"]
    assert not left.exists()
    assert (only_folder(tmp_path) / "decoder.onnx").exists()
