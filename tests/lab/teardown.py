"""Remove a host: the same steps for one that is taken down and for what a killed one left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import network
from .cgroups import Cgroup
from .process import run
from .spec import HostDir, Spec

# Bridges, addresses and forwarding are the machine's, so one lock for all labs on it.
_MACHINE_LOCK = Path("/run/sglang-piper-lab/lock")
_TAIL_LINES = 5


@contextmanager
def machine_lock() -> Iterator[None]:
    """Hold while hosts or the network they share come or go. Not to be taken twice by one thread."""
    _MACHINE_LOCK.parent.mkdir(mode=0o755, exist_ok=True)
    with _MACHINE_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(host: HostDir) -> None:
    """Remove the host and, if it was the last of its lab, the network. Does nothing if it is gone."""
    with machine_lock():
        remove_locked(host)


def remove_locked(host: HostDir) -> None:
    """`remove`, for a caller that holds the machine's lock."""
    if host.exists():
        spec = host.read()
        network.unplug(spec.network, spec.ip)
        close_ssh(host, spec)
        Cgroup(spec.cgroup).remove()
        _keep_downloads(host, spec)
    if host.path.exists():
        shutil.rmtree(host.path)
    remove_unused_network(host.path.parent)


def remove_unused_network(hosts: Path) -> None:
    """Remove the lab's network if the folder `hosts` has no host left. Hold the machine's lock."""
    record = network_record(hosts)
    if record.exists() and not any(hosts.iterdir()):
        network.parse(record.read_text()).down()
        record.unlink()


def network_record(hosts: Path) -> Path:
    """Holds the subnet of the lab while its network is up."""
    return hosts.with_name("network")


def is_abandoned(host: HostDir) -> bool:
    """Whether nobody looks after the host any more. Hold the machine's lock."""
    try:
        lock = host.lock.open("r")
    except FileNotFoundError:
        return True
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def close_ssh(host: HostDir, spec: Spec) -> None:
    """End the shared ssh connection, which would wait for answers from a host that is off."""
    if host.ssh_control.exists():
        run(
            "ssh",
            "-F",
            "none",
            "-o",
            f"ControlPath={host.ssh_control}",
            "-O",
            "exit",
            spec.address,
            check=False,
        )


def tail(log: Path) -> str:
    """The last lines of a log; empty if there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


def _keep_downloads(host: HostDir, spec: Spec) -> None:
    if spec.apt_cache is None:
        return
    cache = Path(spec.apt_cache)
    for package in host.apt_archives.glob("*.deb"):
        if not (cache / package.name).exists():
            os.link(package, cache / package.name)
