"""NVIDIA's own Riva client, unmodified, against a running engine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.decoding import decoded
from tests.integration.engine_process import DEADLINE_S, VOICE, VOICE_RATE_HZ, Engine

TOP = Path(__file__).parents[2]
CLIENT = TOP / "tests/riva_client"
LOCK = CLIENT / "requirements.txt"
UV = str(Path(sys.executable).parent / "uv")
INSTALL_DEADLINE_S = 300.0

SENTENCES = ["The quick brown fox jumps over the lazy dog. ", "Nobody knows why."]

Response = dict[str, Any]


def environment_directory() -> Path:
    """One per lock, kept between runs."""
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return TOP / f".cache/riva-client-{key}"


def uv(*arguments: str | Path) -> None:
    command = [UV, *map(str, arguments)]
    # The machine's own certificates, as in bootstrap.sh
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    done = subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, text=True, timeout=INSTALL_DEADLINE_S
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def client_python() -> Path:
    """The Python of the client's own environment: it cannot share ours, it wants older websockets."""
    venv = environment_directory()
    complete = venv / "complete"
    if not complete.exists():
        uv("venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, venv)
        install = ("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:")
        uv(*install, "--python", venv, "--requirements", LOCK)
        complete.touch()
    return venv / "bin/python"


@dataclass(frozen=True)
class Answer:
    """What the client printed."""

    responses: list[Response]
    error: str

    @property
    def audio(self) -> bytes:
        return b"".join(base64.b64decode(response.get("audio", "")) for response in self.responses)

    def meta(self, field: str) -> list[Any]:
        """`field`, a repeated one, of all responses."""
        return [value for response in self.responses for value in response.get("meta", {}).get(field, [])]

    def text(self, field: str) -> str:
        return "".join(response.get("meta", {}).get(field, "") for response in self.responses)


Call = Callable[..., Answer]


@pytest.fixture(scope="module")
def call(client_python: Path, engine: Engine) -> Call:
    """Calls `method` of the client with `fields`."""

    def run(method: str, **fields: object) -> Answer:
        done = subprocess.run(
            [str(client_python), str(CLIENT / "speak.py"), engine.target, method],
            input=json.dumps(fields),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return Answer([json.loads(line) for line in done.stdout.splitlines()], done.stderr)

    return run


# What ffmpeg calls the audio of each encoding.
CONTAINERS = {"LINEAR_PCM": "s16le", "MULAW": "mulaw", "ALAW": "alaw", "OGGOPUS": "ogg"}


@pytest.mark.parametrize("method", ["synthesize", "synthesize_online"])
@pytest.mark.parametrize("encoding", CONTAINERS)
@pytest.mark.parametrize("rate_hz", [8000, VOICE_RATE_HZ, 44100])
def test_it_hears_speech(call: Call, method: str, encoding: str, rate_hz: int) -> None:
    text = "".join(SENTENCES)
    answer = call(method, text=text, voice_name=VOICE, encoding=encoding, sample_rate_hz=rate_hz)
    assert not answer.error
    samples = decoded(answer.audio, CONTAINERS[encoding], rate_hz)
    assert len(text) / 30 < len(samples) / rate_hz < len(text) / 8
    assert len(samples) / rate_hz == pytest.approx(sum(answer.meta("predicted_durations")), abs=0.001)
    assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.4
    assert answer.text("text") == text
    assert answer.text("processed_text").startswith(SENTENCES[0].strip())


def test_its_own_defaults_speak(call: Call) -> None:
    answer = call("synthesize", text=SENTENCES[1])
    assert not answer.error
    assert len(answer.audio) / 2 / 22050 == pytest.approx(sum(answer.meta("predicted_durations")), abs=0.001)


def test_online_the_audio_comes_in_parts(call: Call) -> None:
    answer = call("synthesize_online", text=SENTENCES)
    texts = [text for response in answer.responses if (text := response.get("meta", {}).get("text"))]
    assert texts == SENTENCES
    assert len(answer.responses) > 4
    assert len(call("synthesize", text=SENTENCES[1]).responses) == 1


def test_it_finds_the_voice(call: Call) -> None:
    (voices,) = call("voices").responses
    (model,) = voices["model_config"]
    assert model["model_name"] == VOICE
    assert model["parameters"]["language_code"] == "en-US"
    assert model["parameters"]["sample_rate"] == str(VOICE_RATE_HZ)


def test_it_sets_the_speed(call: Call) -> None:
    slow, quick = (
        call("synthesize", text=SENTENCES[0], custom_configuration={"length_scale": scale}).audio
        for scale in ("2.0", "0.5")
    )
    assert len(slow) > 2.5 * len(quick)


def test_it_is_told_when_each_word_is_spoken(call: Call) -> None:
    answer = call("synthesize", text=SENTENCES[1], enable_word_time_offsets=True)
    words = answer.meta("words")
    assert [word["word"] for word in words] == ["Nobody", "knows", "why"]
    assert [word.get("start_time", 0) for word in words[1:]] == [word["end_time"] for word in words[:-1]]


def test_it_shows_the_engines_error(call: Call) -> None:
    answer = call("synthesize", text="Hello.", voice_name="zoe")
    assert not answer.responses
    assert "NOT_FOUND" in answer.error
    assert VOICE in answer.error
