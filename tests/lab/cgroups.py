"""One control group per host, in every hierarchy that its systemd is to manage."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .errors import LabError

_MOUNTS = Path("/sys/fs/cgroup")
# cgroup v1, one hierarchy per controller: those in which systemd enforces MemoryMax, CPUQuota, TasksMax.
_V1_HIERARCHIES = ("systemd", "unified", "cpu", "cpuacct", "memory", "pids", "blkio")
# The kernel needs a moment to reap what was killed; a group is busy until then.
_REAP_TIMEOUT_S = 20.0
_REAP_POLL_S = 0.01


class Cgroup:
    """The control group `name` of one host. Two hosts started from one group would share `/payload`."""

    def __init__(self, name: str) -> None:
        self._paths = [hierarchy / name for hierarchy in _hierarchies()]

    def create(self) -> None:
        for path in self._paths:
            path.mkdir(exist_ok=True)

    def enter(self) -> None:
        """Move the calling process, and so all its children to come, into the group."""
        for path in self._paths:
            (path / "cgroup.procs").write_text("0")

    def remove(self) -> None:
        """Kill every process in the group and delete it. Raises LabError if one cannot be killed."""
        deadline = time.monotonic() + _REAP_TIMEOUT_S
        while not self._try_remove():
            if time.monotonic() > deadline:
                raise LabError(f"processes {sorted(self._pids())} in {self._paths[0]} do not end when killed")
            time.sleep(_REAP_POLL_S)

    def _try_remove(self) -> bool:
        for pid in self._pids():
            _kill(pid)
        for path in self._paths:
            for group in sorted(_groups(path), reverse=True):
                _rmdir(group)
        return not any(path.exists() for path in self._paths)

    def _pids(self) -> set[int]:
        return {pid for path in self._paths for group in _groups(path) for pid in _members(group)}


def _hierarchies() -> list[Path]:
    if (_MOUNTS / "cgroup.controllers").exists():
        return [_MOUNTS]
    return [_MOUNTS / name for name in _V1_HIERARCHIES if (_MOUNTS / name).is_dir()]


def _groups(path: Path) -> Iterator[Path]:
    for parent, _, _ in os.walk(path):
        yield Path(parent)


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:  # deleted since it was listed
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _rmdir(group: Path) -> None:
    with suppress(OSError):  # still busy, or gone: the caller looks again
        group.rmdir()
