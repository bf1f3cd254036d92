"""What can go wrong, as a user meets it.

BenchError
├── UsageError       what was asked for cannot be done: exit code 2
├── Unreachable      the server cannot be used at all: exit code 3
└── RequestFailed    one request or one session failed: counted by its kind, the run goes on
"""

from __future__ import annotations


class BenchError(Exception):
    """Base of everything this package raises on purpose; its text is shown to the user as it is."""


class UsageError(BenchError):
    """An argument, a file or a key is unusable."""


class Unreachable(BenchError):
    """Nothing can be measured: no connection, no trust, no permission, or a server that is not ready."""


class RequestFailed(BenchError):
    """One request or session failed.

    ``kind`` is a short name to count by, such as ``http_503`` or ``cut``; ``detail`` says what was seen.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
