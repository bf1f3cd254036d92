"""The contract of every role: its argument specs describe what its defaults set, by the role's own names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
HEADER = "{{ ansible_managed }}"


def read(role: str, file: str) -> dict[str, Any]:
    """One of the role's YAML files; empty where it has none."""
    path = ROOT / "roles" / role / file
    content: dict[str, Any] = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    return content


def options_of(role: str) -> dict[str, dict[str, Any]]:
    """The options of the entry point main: name → specification."""
    options: dict[str, dict[str, Any]] = read(role, "meta/argument_specs.yml")["argument_specs"]["main"][
        "options"
    ]
    return options


def templates() -> list[Path]:
    """What becomes a file of its own on a host; those that begin with _ are included by others."""
    return sorted(path for path in (ROOT / "templates").rglob("*.j2") if not path.name.startswith("_"))


def test_there_are_roles_and_templates() -> None:
    assert ROLES
    assert templates()


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_agree(role: str) -> None:
    defaults, options = read(role, "defaults/main.yml"), options_of(role)
    # What the specification gives no default may be left without one: it stands for "not asked for".
    described = {name for name, option in options.items() if "default" in option or name in defaults}
    assert set(defaults) - set(options) == set(), (
        "set in defaults/main.yml, not described in meta/argument_specs.yml"
    )
    assert described - set(defaults) == set(), (
        "given a default in meta/argument_specs.yml, not in defaults/main.yml"
    )
    given = {name: option["default"] for name, option in options.items() if "default" in option}
    assert {name: defaults[name] for name in given} == given


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_is_described(role: str) -> None:
    """A play may come in by a file in tasks/ that meta/argument_specs.yml describes: that file exists."""
    specified = set(read(role, "meta/argument_specs.yml")["argument_specs"])
    assert specified - {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")} == set()


@pytest.mark.parametrize("role", ROLES)
def test_descriptions_are_sentences(role: str) -> None:
    without = [name for name, option in options_of(role).items() if not option.get("description")]
    assert without == []


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_roles_name(role: str) -> None:
    public = [*read(role, "defaults/main.yml"), *options_of(role)]
    assert [name for name in public if not name.startswith(f"{role}_")] == []
    internal = [
        name
        for path in sorted((ROOT / "roles" / role / "vars").glob("*.yml"))
        for name in yaml.safe_load(path.read_text())
    ]
    assert [name for name in internal if not name.startswith(f"_{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_role_has_a_default_scenario(role: str) -> None:
    scenario = ROOT / "roles" / role / "molecule" / "default"
    assert {"molecule.yml", "converge.yml", "verify.yml"} <= {path.name for path in scenario.glob("*.yml")}


@pytest.mark.parametrize("template", templates(), ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_templates_say_who_wrote_the_file(template: Path) -> None:
    first_line = template.read_text().splitlines()[0]
    assert HEADER in first_line
    assert first_line != HEADER, "the header stands in a comment of the file's own language"
