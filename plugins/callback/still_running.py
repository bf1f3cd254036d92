"""Say every few seconds which task is still running, so that nobody watches a silent terminal."""

from __future__ import annotations

import threading
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: still_running
type: aggregate
short_description: reports tasks that take long while they run
description:
  - Prints the name of the running task and how long it has been running, every 15 seconds.
  - Prints how long it took when a task took longer than 15 seconds.
"""

EVERY_S = 15.0  # shorter is noise, longer looks like a hang


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible ships no types
    """One timer thread beside Ansible's own output."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "still_running"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._task = ""
        self._since = time.monotonic()
        self._stop = threading.Event()
        threading.Thread(target=self._report, daemon=True).start()

    def _report(self) -> None:
        while not self._stop.wait(1.0):
            elapsed = time.monotonic() - self._since
            if self._task and elapsed >= EVERY_S and int(elapsed) % int(EVERY_S) == 0:
                self._display.display(f"    … {self._task}: {elapsed:.0f} s", color="dark gray")

    def _begin(self, name: str) -> None:
        self._end()
        self._task, self._since = name, time.monotonic()

    def _end(self) -> None:
        elapsed = time.monotonic() - self._since
        if self._task and elapsed >= EVERY_S:
            self._display.display(f"    took {elapsed:.0f} s: {self._task}", color="dark gray")
        self._task = ""

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._begin(task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._begin(task.get_name())

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._end()
        self._stop.set()
