from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import LabError
from tests.lab.base import recipe_of
from tests.lab.process import Process
from tests.lab.spec import HostDir, Spec, host_dir

_SPEC = Spec(
    name="one",
    address="198.18.53.10",
    subnet="198.18.53.0/24",
    suite="bookworm",
    flavour="managed",
    base="/base",
    owner=Process(1, 2),
    binds=("--bind=/a",),
    files={"/etc/x": (0o600, "y\n")},
)


@pytest.mark.parametrize("spec", [_SPEC, replace(_SPEC, owner=None)])
def test_a_spec_survives_its_file(tmp_path: Path, spec: Spec) -> None:
    HostDir(tmp_path).write(spec)
    assert HostDir(tmp_path).read() == spec


@pytest.mark.parametrize("name", ["", "-one", "one-", "One", "a/b", "..", "x" * 33])
def test_what_is_no_host_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabError, match="no name for a host"):
        host_dir(tmp_path, name)


def test_a_folder_too_deep_for_sockets_is_refused() -> None:
    with pytest.raises(LabError, match="too long a path"):
        host_dir(Path("/" + "deep/" * 20), "one")


def test_a_change_of_the_recipe_is_another_base() -> None:
    recipe = recipe_of("bookworm", "minimal")
    assert recipe.key == recipe_of("bookworm", "minimal").key
    keys = {
        recipe.key,
        recipe_of("bookworm", "managed").key,
        replace(recipe, packages=(*recipe.packages, "git")).key,
        replace(recipe, files={**recipe.files, "etc/new": ""}).key,
        replace(recipe, setup=recipe.setup + "true\n").key,
    }
    assert len(keys) == 5


def test_minimal_hides_no_installation_step() -> None:
    packages = recipe_of("bookworm", "minimal").packages
    assert not {"python3", "python3-venv", "curl", "git"} & set(packages)


@pytest.mark.parametrize(("suite", "flavour"), [("sid", "minimal"), ("bookworm", "maximal")])
def test_an_unknown_base_is_refused(suite: str, flavour: str) -> None:
    with pytest.raises(LabError, match="unknown"):
        recipe_of(suite, flavour)


def test_a_process_is_not_mistaken_for_a_later_one_of_its_number() -> None:
    process = Process.current()
    pidfd = process.pidfd()
    assert pidfd is not None
    os.close(pidfd)
    assert replace(process, start=process.start - 1).pidfd() is None
