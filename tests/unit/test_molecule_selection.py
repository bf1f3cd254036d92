"""Which roles' scenarios a change concerns."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.molecule.scenarios import Scenario, SelectionError, concerned, selected

ROLES = {
    "base": "- name: Refresh\n",
    "release": "- name: Build\n",
    "server": "- include_role:\n    name: release\n  vars:\n    python_release_project: true\n",
    "site": '- template:\n    src: "{{ _site_templates }}/etc/web/{{ item }}.j2"\n',
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git checkout with four roles, of which `server` uses `release`."""
    for role, tasks in ROLES.items():
        for file, content in (("tasks/main.yml", tasks), ("molecule/default/molecule.yml", "---\n")):
            path = tmp_path / "roles" / role / file
            path.parent.mkdir(parents=True)
            path.write_text(content)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example", "commit", "--quiet", "-m", "Begin")
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True)


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("README.md", set()),
        ("roles/base/tasks/main.yml", {"base"}),
        ("roles/release/defaults/main.yml", {"release", "server"}),
        ("services/engine.py", {"server"}),
        ("templates/etc/web/site.conf.j2", {"site"}),
        ("templates/etc/other.j2", set()),
        ("plugins/lookup/any.py", set(ROLES)),
    ],
)
def test_a_file_concerns_the_roles_that_use_it(project: Path, path: str, roles: set[str]) -> None:
    assert concerned([path], project) == roles


def test_without_a_wish_all_scenarios_are_selected(project: Path) -> None:
    assert selected("", project) == [Scenario(role, "default") for role in sorted(ROLES)]


def test_changes_count_whether_new_or_not_yet_committed(project: Path) -> None:
    (project / "roles" / "base" / "tasks" / "main.yml").write_text("- name: Other\n")
    (project / "roles" / "site" / "handlers.yml").write_text("new\n")
    assert selected("touched:HEAD", project) == [Scenario("base", "default"), Scenario("site", "default")]


def test_roles_can_be_named(project: Path) -> None:
    assert selected("site,base", project) == [Scenario("base", "default"), Scenario("site", "default")]


@pytest.mark.parametrize(
    ("wish", "reason"), [("sight", "no role with scenarios is called so"), ("touched:nowhere", "nowhere")]
)
def test_a_wish_that_cannot_be_fulfilled_is_refused(project: Path, wish: str, reason: str) -> None:
    with pytest.raises(SelectionError, match=reason):
        selected(wish, project)
