"""The command line, as far as it goes without root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import requirements
from tests.lab.errors import LabError

_CHECKOUT = Path(__file__).parents[2]


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    # As nobody, whoever we are.
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*drop, sys.executable, "-m", "tests.lab", *words],
        cwd=_CHECKOUT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_root_it_says_so_in_a_line() -> None:
    done = _command("up", "one")
    assert done.returncode == 1
    assert done.stderr.startswith("lab: the lab needs root")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["up", "exec", "ssh", "cut", "start", "down", "list", "base", "inventory"]
)
def test_every_command_explains_itself(command: str) -> None:
    done = _command(command, "--help")
    assert done.returncode == 0
    assert command in done.stdout


def test_missing_packages_are_named_when_they_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(requirements, "PATH", str(tmp_path))
    assert "systemd-container" in requirements.missing_packages()
    monkeypatch.setattr(requirements, "require_root", lambda: None)
    with pytest.raises(LabError, match=r"missing: .*mmdebstrap.*no apt-get"):
        requirements.require()
