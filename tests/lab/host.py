"""A running (or switched off) host, and what a test does to it."""

from __future__ import annotations

import fcntl
import json
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from . import network, teardown
from .errors import CommandFailed, LabError
from .process import run
from .spec import HostDir

_READY_TIMEOUT_S = 120.0
_POLL_S = 0.05
_CONNECT_TIMEOUT_S = 1.0
# The longest order is `down`: the kernel has to reap all that was killed, and the disk is deleted.
_ORDER_TIMEOUT_S = 120.0
# Anything but an answer at once means that the supervisor hangs, or is busy with such an order.
_STATE_TIMEOUT_S = 10.0
# systemd's words for "the boot is over".
_BOOTED = ("running", "degraded")
# ssh's own failures, not the command's.
_SSH_FAILED = 255


class Host:
    """One host of the lab, made by `Lab.up` or found by `Lab.host`."""

    def __init__(self, folder: HostDir, key: Path) -> None:
        self._folder = folder
        self._key = key
        self._spec = folder.read()

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def ip(self) -> str:
        """The IPv4 address, reachable from this machine and from the other hosts."""
        return self._spec.address

    @property
    def suite(self) -> str:
        return self._spec.suite

    @property
    def flavour(self) -> str:
        return self._spec.flavour

    @property
    def is_persistent(self) -> bool:
        """Whether the host stays when the process that made it ends."""
        return self._folder.read().owner is None

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.ip}>"

    # -- inside ------------------------------------------------------------------------------

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        text: str = "",
        timeout_s: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell line, or an argument vector, as root; `text` is its input.

        Raises CommandFailed if it fails and `check` is set, LabError if the host cannot be reached
        or the command takes longer than `timeout_s`.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        try:
            done = subprocess.run(
                self.ssh_argv(line),
                input=text,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: not done after {timeout_s} s: {line}") from error
        if check and done.returncode == _SSH_FAILED:
            raise LabError(f"{self.name}: cannot be reached by ssh: {done.stderr.strip()}")
        if check and done.returncode:
            raise CommandFailed(self.name, line, done.returncode, done.stdout, done.stderr)
        return done

    def ssh_argv(self, *command: str, tty: bool = False) -> list[str]:
        """The ssh command for this host; `command` is joined with blanks and read by the shell there."""
        return ["ssh", *(["-t"] if tty else []), *self.ssh_options, f"root@{self.ip}", *command]

    @property
    def ssh_options(self) -> list[str]:
        """Options with which ssh and scp reach this host as root, over one shared connection."""
        settings = {
            "BatchMode": "yes",
            "ConnectTimeout": "5",
            "ControlMaster": "auto",
            "ControlPath": str(self._folder.ssh_control),
            "ControlPersist": "60",
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "IdentityFile": str(self._key),
            "LogLevel": "ERROR",
            # A host that is cut off is noticed after a quarter of a minute.
            "ServerAliveCountMax": "3",
            "ServerAliveInterval": "5",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self._folder.known_hosts),
        }
        return [
            "-F",
            "none",
            *(word for name, value in settings.items() for word in ("-o", f"{name}={value}")),
        ]

    def put(self, source: Path, target: str) -> None:
        """Copy a file or folder of this machine to `target` in the host."""
        run("scp", "-q", "-r", "-p", *self.ssh_options, source, f"root@{self.ip}:{target}")

    def get(self, source: str, target: Path) -> None:
        """Copy a file or folder of the host to `target` on this machine."""
        run("scp", "-q", "-r", "-p", *self.ssh_options, f"root@{self.ip}:{source}", target)

    def wait_ready(self, timeout_s: float = _READY_TIMEOUT_S) -> str:
        """Wait until the boot is over and ssh answers; "running", or "degraded": a unit failed.

        Raises LabError if the host switches itself off, or is not ready after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        state = "no answer on port 22"
        while time.monotonic() < deadline:
            if not self.is_on():
                raise LabError(
                    f"{self.name} is switched off. Its console's last lines:\n{self.console_tail()}"
                )
            if self._greets():
                said = self.run("systemctl is-system-running --wait", check=False, timeout_s=timeout_s)
                state = said.stdout.strip() or said.stderr.strip()
                if state in _BOOTED:
                    return state
            time.sleep(_POLL_S)
        raise LabError(
            f"{self.name} is not ready after {timeout_s:.0f} s: {state}. "
            f"Its console's last lines:\n{self.console_tail()}"
        )

    def wait_off(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait until the host has switched itself off. Raises LabError if it has not after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.is_on():
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} is still on after {timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def reboot(self, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Reboot in an orderly way and wait until the host is ready again."""
        before = self.boot_id()
        # sshd is stopped before it can tell how the command ended.
        self.run("systemctl reboot", check=False)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self.run(["cat", "/proc/sys/kernel/random/boot_id"], check=False)
            if answer.returncode == 0 and answer.stdout.strip() != before:
                self.wait_ready(deadline - time.monotonic())
                return
            time.sleep(_POLL_S)
        raise LabError(f"{self.name} did not reboot in {timeout_s:.0f} s")

    def boot_id(self) -> str:
        """Different after every boot."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()

    def console_tail(self) -> str:
        """The last lines the host wrote to its console."""
        return teardown.tail(self._folder.console)

    def ansible_vars(self) -> dict[str, str | bool]:
        """What Ansible's inventory has to say of this host to reach it as root over ssh."""
        return {
            "ansible_host": self.ip,
            "ansible_user": "root",
            "ansible_ssh_args": shlex.join(self.ssh_options),
            "ansible_ssh_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.ip, 22), timeout=_CONNECT_TIMEOUT_S) as ssh:
                return ssh.recv(4) == b"SSH-"
        except OSError:
            return False

    # -- from outside ------------------------------------------------------------------------

    def cut(self) -> None:
        """Cut the power: no process ends in order, no connection is closed. The disk stays."""
        self._order("cut")

    def start(self) -> None:
        """Switch on again, with the same disk and address; returns when the host is ready."""
        self._order("start")
        self.wait_ready()

    def network(self, up: bool) -> None:
        """Part the host from everyone (False), or connect it again (True)."""
        if not self.is_on():
            raise LabError(f"{self.name} is switched off: start it first")
        network.set_link(self._spec.network, self._spec.ip, up=up)

    def is_on(self) -> bool:
        return self.on_since() is not None

    def on_since(self) -> float | None:
        """When the host was switched on last (time.time()); None: it is switched off."""
        since = self._order("state", _STATE_TIMEOUT_S)["since"]
        return float(since) if isinstance(since, int | float) else None

    def keep(self) -> None:
        """Let the host stay when its owner ends, until `down`."""
        self._order("keep")

    def down(self) -> None:
        """Switch off and delete the host. Does nothing if it is gone."""
        if self._wait_for_supervisor():
            with self._folder.lock.open() as lock:
                self._order("down")
                # Released when the supervisor, too, has ended.
                fcntl.flock(lock, fcntl.LOCK_EX)
        else:
            teardown.remove(self._folder)

    def _wait_for_supervisor(self) -> bool:
        """Whether somebody takes orders for this host; waits for one who is about to."""
        deadline = time.monotonic() + _ORDER_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._folder.control.exists():
                break
            with teardown.machine_lock():
                if teardown.is_abandoned(self._folder):
                    return False
            time.sleep(_POLL_S)
        with teardown.machine_lock():
            return not teardown.is_abandoned(self._folder)

    def _order(self, order: str, timeout_s: float = _ORDER_TIMEOUT_S) -> dict[str, object]:
        try:
            with closing(socket.socket(socket.AF_UNIX)) as control:
                control.settimeout(timeout_s)
                control.connect(str(self._folder.control))
                control.sendall(order.encode())
                answer = b"".join(iter(lambda: control.recv(65536), b""))
        except (FileNotFoundError, ConnectionError) as error:
            raise LabError(f"{self.name} is gone: nobody looks after it any more") from error
        except TimeoutError as error:
            raise LabError(f"{self.name}: the supervisor does not answer; see {self._folder.log}") from error
        said: dict[str, object] = json.loads(answer or '{"error": "the supervisor ended without an answer"}')
        if "error" in said:
            raise LabError(f"{self.name}: {said['error']}")
        return said
