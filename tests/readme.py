"""The commands of the README, so that tests can run exactly these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


@dataclass(frozen=True)
class Block:
    section: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.section}: {self.code.splitlines()[0]}"


def blocks() -> list[Block]:
    """Every block of the README that a reader would run, in order."""
    found = []
    for section in re.split(r"^## ", README.read_text(), flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        for language, code in re.findall(r"^```(bash|python)\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            found.append(Block(title, language, code))
    return found


def block(section: str, number: int = 0) -> Block:
    """Block `number` of a section; raises IndexError when it has none."""
    return [block for block in blocks() if block.section == section][number]
