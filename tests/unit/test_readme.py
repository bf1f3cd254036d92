"""No command of the README is left untested."""

from __future__ import annotations

import re

import pytest

from tests.readme import README, blocks

# Which test runs the blocks of a section.
RUN_BY = {
    "Two commands": "tests/hosts/test_whole_way.py runs ./up; ./test runs this very test",
    "Use it": "tests/hosts/test_whole_way.py",
    "Measure it": "tests/hosts/test_whole_way.py and tests/integration/test_bench_engine.py",
    "Set it up your way": "tests/hosts/test_whole_way.py and tests/integration/test_readme_foreground.py",
}


def test_every_block_is_run_by_a_test() -> None:
    assert {block.section for block in blocks()} == set(RUN_BY)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([a-z_./]+/|[a-z_]+\.yml)`", README.read_text()))))
def test_every_path_that_is_named_exists(path: str) -> None:
    made_by_a_run = ("inventory/secrets/", "reports/")
    assert path.startswith(made_by_a_run) or (README.parent / path).exists()
