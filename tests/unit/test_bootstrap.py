"""What ./up and ./test say when they cannot start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


def bash(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script, "up"],
        cwd=TOP,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_does_not_fit_is_named_with_the_way_out() -> None:
    # Neither before nor after installing the distribution's Python is there one that fits.
    done = bash(". ./bootstrap.sh; find_python() { return 1; }; as_root() { :; }; bootstrap")
    assert done.returncode == 1
    assert "Python 3." in done.stderr
    assert "3.11, 3.12 or 3.13 is needed" in done.stderr
    assert "apt-get install" in done.stderr


def test_the_python_that_is_found_makes_environments() -> None:
    done = bash(". ./bootstrap.sh; find_python")
    assert done.returncode == 0
    subprocess.run([done.stdout.strip(), "-c", "import ensurepip, venv"], check=True)


@pytest.mark.parametrize("command", ["./up", "./test"])
def test_help_tells_every_option(command: str) -> None:
    shown = bash(f"{command} --help")
    options = {"./up": ["--lab", "--check", "--down"], "./test": ["--fast", "--all", "--setup"]}[command]
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in options)


def test_an_unknown_argument_is_refused_before_anything_is_done() -> None:
    refused = bash("./up --labb")
    assert refused.returncode == 1
    assert "unknown argument: --labb" in refused.stderr
