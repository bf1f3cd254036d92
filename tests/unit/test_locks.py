"""What is installed on hosts is what uv.lock says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).parents[2]
UV = str(Path(sys.executable).parent / "uv")


@pytest.mark.parametrize(
    ("extras", "file"),
    [
        (["engine"], "tts_engine/files/requirements.txt"),
        (["engine", "openvino"], "tts_engine/files/requirements-openvino.txt"),
        (["gateway"], "tts_gateway/files/requirements.txt"),
        (["bench"], "bench/files/requirements.txt"),
    ],
)
def test_the_role_installs_what_the_lock_says(extras: list[str], file: str) -> None:
    export = [
        UV,
        "export",
        "--quiet",
        "--frozen",
        "--offline",
        "--no-default-groups",
        "--no-emit-project",
        "--no-header",
    ]
    exported = subprocess.run(
        [*export, *(f"--extra={extra}" for extra in extras)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    assert exported.stdout == (TOP / "roles" / file).read_text()


def test_hosts_get_the_uv_that_is_locked() -> None:
    variables = yaml.safe_load((TOP / "roles/python_release/vars/main.yml").read_text())
    lock = (TOP / "roles/python_release/files/uv.txt").read_text()
    assert lock.startswith(f"uv=={variables['_python_release_uv_version']} ")


def test_the_lock_is_up_to_date() -> None:
    subprocess.run([UV, "lock", "--check"], cwd=TOP, check=True, capture_output=True)
