"""Processes of this machine: run a tool to its end, tie one to its parent, know one again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

# A user's PATH on Debian has no sbin, where ip, nft and modprobe live.
PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin"


def run(*argv: str | Path, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool with `text` as its input and return what it wrote.

    Raises LabError with the tool's own last words if it cannot be started or (with `check`) fails.
    """
    command = [str(arg) for arg in argv]
    try:
        done = subprocess.run(
            command,
            input=text if text is not None else "",
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"},
            check=False,
        )
    except OSError as error:
        raise LabError(f"cannot run {command[0]}: {error.strerror}") from error
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(command)}: exit status {done.returncode}: {said}")
    return done


def tied(command: Sequence[str], *namespaces: str) -> list[str]:
    """`command` in its own PID and mount namespaces, killed by the kernel as soon as its parent dies.

    Being the first process of a PID namespace, its death is that of every process it started, and
    with the last of them go the mounts they made: nothing is left to clean up, whoever was killed.
    `namespaces` are further options of unshare(1).
    """
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", *namespaces]
    return ["setpriv", "--pdeathsig", "KILL", "--", *unshare, "--", *command]


@dataclass(frozen=True)
class Process:
    """A process by its number and its start, in clock ticks since boot: numbers are used again."""

    pid: int
    start: int

    @classmethod
    def current(cls) -> Process:
        pid = os.getpid()
        return cls(pid, _start_of(pid))

    def pidfd(self) -> int | None:
        """A descriptor that becomes readable when the process ends; None if it has ended."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # Looked at after the descriptor is open: from here on the number cannot be used again unnoticed.
        try:
            same = _start_of(self.pid) == self.start
        except (FileNotFoundError, ProcessLookupError):
            same = False
        if same:
            return fd
        os.close(fd)
        return None


def _start_of(pid: int) -> int:
    # The second field is the command's name in brackets, and may hold blanks and brackets itself.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[19])
