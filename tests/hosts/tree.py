"""This tree, as a fresh clone would have it."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

TOP = Path(__file__).parents[2]


def tracked() -> list[str]:
    """The files that git tracks, and those it would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (TOP / name).exists()]


def pack(archive: Path) -> None:
    """Write the tree into `archive`, a tar file."""
    with tarfile.open(archive, "w") as tar:
        for name in tracked():
            tar.add(TOP / name, name)


def unpack(archive: Path, folder: Path) -> None:
    """Lay the tree from `archive` out in `folder`."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
