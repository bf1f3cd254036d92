"""The process that looks after one host: boots it, takes orders for it, removes it with its owner.

It ends as soon as the host is down. Killed, it takes the host with it (`process.tied`); what then is
left, an empty control group and the host's folder, the next use of the lab removes.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from . import network, teardown
from .cgroups import Cgroup
from .errors import LabError
from .process import tied
from .spec import HostDir

_ORDER_MAX_BYTES = 4096
# Somebody who connects and then says nothing must not keep the host from being looked after.
_ORDER_TIMEOUT_S = 5.0


@dataclass
class _Power:
    """A host that is switched on: its cell, and when it was started (time.time())."""

    cell: subprocess.Popen[bytes]
    pidfd: int
    since: float


class Supervisor:
    def __init__(self, host: HostDir) -> None:
        self._host = host
        self._spec = host.read()
        self._power: _Power | None = None
        self._down = False
        self._removed = False
        self._selector = selectors.DefaultSelector()
        self._orders: dict[str, Callable[[], dict[str, object]]] = {
            "cut": self._order_cut,
            "down": self._order_down,
            "keep": self._order_keep,
            "start": self._order_start,
            "state": self._order_state,
        }

    def run(self, ready: Callable[[str], None]) -> None:
        """Boot, tell `ready` "ok" or what went wrong, and serve until the host is down."""
        with socket.socket(socket.AF_UNIX) as control:
            try:
                self._watch_signals()
                self._watch_owner()
                control.bind(str(self._host.control))
                control.listen()
                self._selector.register(control, selectors.EVENT_READ, lambda: self._answer(control))
                if not self._down:
                    self._start(seed=True)
                    ready("ok")
                while not self._down:
                    for key, _ in self._selector.select():
                        key.data()
            except LabError as error:
                ready(str(error))
            finally:
                self._remove()

    def _watch_signals(self) -> None:
        # A Ctrl-C in the owner's terminal, or its hang-up, is the owner's business.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        wake, woken = socket.socketpair()
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.detach())
        self._selector.register(wake, selectors.EVENT_READ, self._stop)

    def _watch_owner(self) -> None:
        if self._spec.owner is None:
            return
        pidfd = self._spec.owner.pidfd()
        if pidfd is None:
            self._stop()
        else:
            self._selector.register(pidfd, selectors.EVENT_READ, self._owner_ended)

    def _owner_ended(self) -> None:
        if self._spec.owner is not None:
            self._stop()

    def _stop(self) -> None:
        self._down = True

    def _answer(self, control: socket.socket) -> None:
        client, _ = control.accept()
        with client:
            client.settimeout(_ORDER_TIMEOUT_S)
            try:
                order = client.recv(_ORDER_MAX_BYTES).decode().strip()
                client.sendall(json.dumps(self._obey(order)).encode())
            except (OSError, UnicodeDecodeError) as error:
                print(f"control: {error}", file=sys.stderr, flush=True)

    def _obey(self, order: str) -> dict[str, object]:
        if order not in self._orders:
            return {"error": f"unknown order {order!r}"}
        try:
            return self._orders[order]()
        except LabError as error:
            return {"error": str(error)}

    def _order_state(self) -> dict[str, object]:
        return {"since": self._power.since if self._power else None}

    def _order_cut(self) -> dict[str, object]:
        self._cut()
        return {}

    def _order_start(self) -> dict[str, object]:
        if self._power:
            raise LabError(f"{self._host.name} is running already")
        self._start(seed=False)
        return {}

    def _order_keep(self) -> dict[str, object]:
        self._spec = replace(self._spec, owner=None)
        self._host.write(self._spec)
        # A readable pidfd would wake the loop for ever; the owner is nobody's concern any more.
        for key in list(self._selector.get_map().values()):
            if key.data == self._owner_ended:
                self._selector.unregister(key.fileobj)
                os.close(key.fd)
        return {}

    def _order_down(self) -> dict[str, object]:
        self._remove()
        self._stop()
        return {}

    def _remove(self) -> None:
        # Once only: after the answer to `down` somebody may make another host of this name.
        if not self._removed:
            self._cut()
            teardown.remove(self._host)
            self._removed = True

    def _start(self, *, seed: bool) -> None:
        Cgroup(self._spec.cgroup).create()
        status, status_end = os.pipe()
        netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        command = [sys.executable, "-m", f"{__package__}.cell", str(self._host.path)]
        command += ["--machine-netns", str(netns), "--status", str(status_end), *(["--seed"] if seed else [])]
        with self._host.console.open("ab") as console:
            cell = subprocess.Popen(
                tied(command, "--net"),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=(netns, status_end),
            )
        os.close(netns)
        os.close(status_end)
        self._power = _Power(cell, os.pidfd_open(cell.pid), time.time())
        self._selector.register(self._power.pidfd, selectors.EVENT_READ, self._cell_ended)
        with os.fdopen(status) as pipe:
            # A line, not all: unshare(1) keeps the other end open as long as the cell lives.
            said = pipe.readline().strip()
        if said != "ok":
            self._cut()
            raise LabError(
                f"{self._host.name} cannot be started: {said or teardown.tail(self._host.console)}"
            )

    def _cell_ended(self) -> None:
        # The host switched itself off.
        self._cut()

    def _cut(self) -> None:
        if not self._power:
            return
        # The cable first: a machine whose power fails sends no farewell on its connections.
        network.unplug(self._spec.network, self._spec.ip)
        power, self._power = self._power, None
        self._selector.unregister(power.pidfd)
        os.close(power.pidfd)
        power.cell.kill()
        power.cell.wait()
        Cgroup(self._spec.cgroup).remove()
        teardown.close_ssh(self._host, self._spec)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("host", type=Path)
    parser.add_argument("--lock", type=int, required=True, metavar="FD", help="held until this process ends")
    args = parser.parse_args()
    os.set_inheritable(args.lock, False)
    Supervisor(HostDir(args.host)).run(_ready)
    return 0


def _ready(word: str) -> None:
    # Whoever waits for the word may be gone.
    try:
        sys.stdout.write(word)
        sys.stdout.flush()
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    except BrokenPipeError:
        traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main())
