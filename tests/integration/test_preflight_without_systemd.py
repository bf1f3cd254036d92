"""What a machine that systemd does not run is told; preflight changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs this machine")
def test_a_machine_without_systemd_is_told_the_ways_out(tmp_path: Path) -> None:
    # Check mode: there need be no keys yet.
    done = subprocess.run(
        [ANSIBLE_PLAYBOOK, "playbooks/preflight.yml", "--check", "-e", f"secrets_file={tmp_path}/none.yml"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    message = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "not systemd, so services cannot be run here" in message
    assert "/etc/wsl.conf" in message
    assert "./up --lab" in message
