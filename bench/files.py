"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.errors import UsageError


def check_writable(path: Path, option: str) -> None:
    """Raise UsageError now, rather than after the run, where ``path`` cannot be written."""
    parent = path.absolute().parent
    if path.is_dir():
        raise UsageError(f"{option} {path} is a directory: name a file in it")
    if not parent.is_dir():
        raise UsageError(f"{option} {path}: the directory {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"{option} {path}: no permission to write in {parent}; choose another place")


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never half of it."""
    with tempfile.NamedTemporaryFile(
        dir=path.absolute().parent, prefix=f".{path.name}.", delete=False
    ) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
