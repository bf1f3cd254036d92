"""The roles' molecule scenarios on disk, and which of them a change concerns."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What stands below these concerns every role.
_SHARED = (".config/molecule/", "plugins/", "tests/lab/", "tests/molecule/")
# What goes into the project's wheel, which some roles install.
_WHEEL = ("services/", "bench/", "pyproject.toml")


class SelectionError(ValueError):
    """A wish for roles that cannot be fulfilled; one line that says why."""


@dataclass(frozen=True, order=True)
class Scenario:
    """roles/<role>/molecule/<name>."""

    role: str
    name: str

    def __str__(self) -> str:
        return f"{self.role}-{self.name}"


def scenarios(root: Path = ROOT) -> list[Scenario]:
    """Every scenario on disk."""
    files = (root / "roles").glob("*/molecule/*/molecule.yml")
    return sorted(Scenario(file.parents[2].name, file.parent.name) for file in files)


def selected(wish: str, root: Path = ROOT) -> list[Scenario]:
    """The scenarios of the roles wished for.

    `wish`: "" for all, "edge,voices" for these, "touched:REVISION" for those that a change since that git
    revision concerns. Raises SelectionError.
    """
    every = scenarios(root)
    if not wish:
        return every
    if wish.startswith("touched:"):
        wanted = concerned(changed_files(wish.removeprefix("touched:"), root), root)
    else:
        wanted = set(wish.split(","))
        if unknown := wanted - {scenario.role for scenario in every}:
            raise SelectionError(
                f"ROLES names {', '.join(sorted(unknown))}: no role with scenarios is called so"
            )
    return [scenario for scenario in every if scenario.role in wanted]


def changed_files(revision: str, root: Path = ROOT) -> list[str]:
    """Paths that differ from `revision`, committed or not, and new ones. Raises SelectionError."""
    return [
        *_git(root, "diff", "--name-only", "--end-of-options", revision, "--"),
        *_git(root, "ls-files", "--others", "--exclude-standard"),
    ]


def concerned(paths: list[str], root: Path = ROOT) -> set[str]:
    """The roles that a change of these files concerns, those that use a changed role included."""
    roles = sorted({scenario.role for scenario in scenarios(root)})
    tasks = {role: _tasks(root / "roles" / role) for role in roles}
    if any(path.startswith(_SHARED) for path in paths):
        return set(roles)
    touched = {role for role in roles for path in paths if _touches(path, role, tasks[role])}
    while more := {role for role in roles for used in touched if _uses(tasks[role], used)} - touched:
        touched |= more
    return touched


def _touches(path: str, role: str, tasks: str) -> bool:
    if path.startswith("templates/"):
        # Tasks name a template's folder; its own name may come from a loop.
        folder = re.escape(str(Path(path).parent.relative_to("templates")))
        return re.search(rf"\}}\}}/{folder}/[^/\n]*\.j2", tasks) is not None
    if path.startswith(_WHEEL):
        return "python_release_project: true" in tasks
    return path.startswith(f"roles/{role}/")


def _uses(tasks: str, role: str) -> bool:
    return re.search(rf"^ +name: {role}$", tasks, flags=re.MULTILINE) is not None


def _tasks(role: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((role / "tasks").glob("*.yml")))


def _git(root: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SelectionError(f"ROLES: git {arguments[0]} says: {done.stderr.strip()}")
    return done.stdout.splitlines()
