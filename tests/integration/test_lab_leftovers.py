"""Nothing is left behind, however a host or its owner ends."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.lab_traces import traces, wait_until_gone
from tests.lab import Lab, LabError

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = pytest.mark.lab

_SUBNET = "198.18.201.0/24"
_OWNER = """
import sys, time
from tests.lab import Lab
with Lab() as lab:
    host = lab.up("one")
    host.run("true")
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def root(lab: Lab) -> Iterator[Path]:
    """The folder of another lab, alone on its subnet, with the bases of the first."""
    lab.base("bookworm", "managed")
    root = Path(tempfile.mkdtemp(prefix="lab-", dir="/var/tmp"))
    (root / "base").symlink_to(lab.root / "base")
    yield root
    wait_until_gone(root, _SUBNET)
    shutil.rmtree(root)


@pytest.fixture
def environment(root: Path) -> Mapping[str, str]:
    return {**os.environ, "SGLANG_PIPER_LAB": str(root), "SGLANG_PIPER_LAB_SUBNET": _SUBNET}


@contextmanager
def _owner(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that has a host, and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as owner:
        try:
            assert owner.stdout
            assert owner.stdout.readline() == "up\n"
            yield owner
        finally:
            owner.kill()


def _kill_supervisor(control: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([ended], [], [])
    os.close(ended)


def test_leaving_the_lab_removes_its_hosts(root: Path) -> None:
    with Lab(root, _SUBNET) as lab:
        lab.up("one")
        lab.up("two")
        assert traces(root, _SUBNET)
    assert traces(root, _SUBNET) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_end_of_the_owner_is_the_end_of_its_hosts(
    root: Path, environment: Mapping[str, str], end: signal.Signals
) -> None:
    with _owner(environment) as owner:
        assert traces(root, _SUBNET)
        owner.send_signal(end)
        owner.wait()
    wait_until_gone(root, _SUBNET)


def test_ctrl_c_while_a_host_boots_leaves_nothing(root: Path, environment: Mapping[str, str]) -> None:
    up = subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "up", "one"], env=environment, stderr=subprocess.PIPE, text=True
    )
    with up:
        try:
            while not (root / "hosts/one/console.log").exists():
                assert up.poll() is None, up.communicate()
        except BaseException:
            up.kill()
            raise
        up.send_signal(signal.SIGINT)
        _, said = up.communicate()
    assert up.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert traces(root, _SUBNET) == []


def test_a_killed_supervisor_takes_its_host_along(root: Path, environment: Mapping[str, str]) -> None:
    with Lab(root, _SUBNET) as lab:
        host = lab.up("one")
        lab.keep(host)
        _kill_supervisor(root / "hosts/one/control")
        with pytest.raises(LabError, match="is gone"):
            host.is_on()
    with Lab(root, _SUBNET) as lab:
        assert lab.hosts() == []


def test_a_kept_host_stays_until_it_is_taken_down(root: Path, environment: Mapping[str, str]) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "tests.lab", *words]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)

    assert command("up", "one").returncode == 0
    try:
        assert command("exec", "one", "--", "exit 7").returncode == 7
        assert command("exec", "one", "--", "echo", "a  b").stdout == "a  b\n"
        assert command("cut", "one").returncode == 0
        refused = command("exec", "one", "true")
        assert refused.returncode == 1
        assert "switched off" in refused.stderr
        assert "one   198.18.201.10  off" in command("list").stdout
        assert command("start", "one").returncode == 0
        assert "one   198.18.201.10  on" in command("list").stdout
        taken = command("up", "one")
        assert taken.returncode == 1
        assert taken.stderr.startswith("lab: there is a host 'one' already")
        assert command("down").stderr == "lab: name the hosts to take down, or say --all\n"
    finally:
        assert command("down", "--all").returncode == 0
    assert traces(root, _SUBNET) == []
