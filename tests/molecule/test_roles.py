"""Every role's molecule scenarios, each on a throw-away host of the lab.

ROLES=edge,voices runs only these roles' scenarios, ROLES=touched:REVISION only those that a change since that
git revision concerns; see scenarios.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.errors import LabError
from tests.lab.requirements import require_root

from .scenarios import ROOT, Scenario, SelectionError, selected

BASE_CONFIG = ROOT / ".config" / "molecule" / "config.yml"


def _selected() -> list[Scenario]:
    try:
        return selected(os.environ.get("ROLES", ""))
    except SelectionError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.mark.molecule
@pytest.mark.parametrize("scenario", _selected(), ids=str)
def test_scenario(scenario: Scenario, tmp_path: Path) -> None:
    try:
        require_root()
    except LabError as error:
        pytest.skip(str(error))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path),
        "NO_COLOR": "1",
    }
    run = subprocess.run(
        # The base configuration by name: molecule finds it by itself only in a git checkout.
        [sys.executable, "-m", "molecule", "--base-config", str(BASE_CONFIG), "test", "-s", scenario.name],
        cwd=ROOT / "roles" / scenario.role,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        pytest.fail(
            f"molecule test -s {scenario.name}, in roles/{scenario.role}:\n{run.stdout}", pytrace=False
        )
