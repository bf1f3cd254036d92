"""What can go wrong, for a user to read.

LabError                 anything the lab cannot do; the message names the cause and the way out
└── CommandFailed        a command inside a host ended with an exit status other than 0
"""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the message names the cause and, where there is one, the way out."""


class CommandFailed(LabError):
    """A command inside a host ended with `returncode`; `stdout` and `stderr` hold all it wrote."""

    def __init__(self, host: str, command: str, returncode: int, stdout: str, stderr: str) -> None:
        self.host = host
        self.command = command
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        said = (stderr.strip() or stdout.strip())[-2000:]
        super().__init__(f"{host}: exit status {returncode} of: {command}" + (f"\n{said}" if said else ""))
