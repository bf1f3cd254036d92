"""`./up --lab` from a fresh clone on this machine, twice, and its removal."""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.tree import pack, unpack
from tests.lab import Lab

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = pytest.mark.lab

HOST = "stack"
# Where there is a hub, it is not asked: this is about the way, not about the model.
OFFLINE = ["--", "-e", "models_hub_endpoint=http://127.0.0.1:9"]
UP_TIMEOUT_S = 1500.0
SYSTEMD_RUNS = Path("/run/systemd/system").exists()


@pytest.fixture(scope="module")
def clone(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if HOST in [host.name for host in lab.hosts()]:
        pytest.fail(f"a host {HOST!r} of yours is up, and this test makes its own: ./up --down")
    folder = tmp_path_factory.mktemp("clone")
    pack(folder.with_suffix(".tar"))
    unpack(folder.with_suffix(".tar"), folder)
    yield folder
    subprocess.run(["./up", "--down"], cwd=folder, check=False, capture_output=True)


def up(clone: Path, *arguments: str) -> str:
    """Run ./up as a script would, with no terminal; return all it printed."""
    done = subprocess.run(
        ["./up", *arguments],
        cwd=clone,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=UP_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_up_makes_a_host_and_proves_it(clone: Path, lab: Lab) -> None:
    # Without systemd and without a terminal, the throw-away host is what ./up takes by itself.
    output = up(clone, *(["--lab"] if SYSTEMD_RUNS else []), *OFFLINE)
    if not SYSTEMD_RUNS:
        assert "Services need systemd" in output
    assert "I am the demo model" in output
    address = lab.host(HOST).ip
    for line in (
        f"https://{address}/v1",
        f"wss://{address}/tts",
        f"inventory/secrets/{HOST}/key",
        "./up --down",
    ):
        assert line in output
    with wave.open(str(clone / "answer.wav")) as spoken:
        assert spoken.getnframes() > spoken.getframerate()


def test_up_again_changes_nothing(clone: Path) -> None:
    output = up(clone, "--lab", *OFFLINE)
    assert "I am the demo model" in output
    assert "changed=0" in output
    assert "changed: [" not in output


def test_a_host_that_lost_its_power_is_switched_on_again(clone: Path, lab: Lab) -> None:
    lab.host(HOST).cut()
    assert "I am the demo model" in up(clone, "--lab", *OFFLINE)


def test_down_leaves_nothing(clone: Path, lab: Lab) -> None:
    up(clone, "--down")
    assert HOST not in [host.name for host in lab.hosts()]
    assert not (clone / "inventory/lab.yml").exists()
    again = subprocess.run(["./up", "--down"], cwd=clone, capture_output=True, text=True, check=False)
    if not SYSTEMD_RUNS:
        assert again.returncode != 0
        assert "no throw-away host to remove" in again.stderr
