"""What a lab leaves on the machine: everything that belongs to hosts in one folder, or to one subnet."""

from __future__ import annotations

import time
from ipaddress import IPv4Network
from pathlib import Path

from tests.lab.network import Network
from tests.lab.process import run

# A killed host's name spaces are taken apart by the kernel in its own time.
_GONE_TIMEOUT_S = 30.0
_POLL_S = 0.05


def traces(root: Path, subnet: str) -> list[str]:
    """Processes, mounts (in any name space), links, control groups, rules and hosts of the lab in `root`."""
    bridge = Network(IPv4Network(subnet)).bridge
    links = [line for line in run("ip", "-oneline", "link").stdout.splitlines() if bridge in line]
    tables = [
        line for line in run("nft", "list", "tables").stdout.splitlines() if bridge.replace("-", "_") in line
    ]
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{bridge}*")]
    hosts = [str(path) for path in (root / "hosts").glob("*")]
    return [*_of_processes(f"{root}/"), *links, *tables, *cgroups, *hosts]


def wait_until_gone(root: Path, subnet: str) -> None:
    """Return when nothing is left; fails with what is left if that takes too long."""
    deadline = time.monotonic() + _GONE_TIMEOUT_S
    while left := traces(root, subnet):
        assert time.monotonic() < deadline, left
        time.sleep(_POLL_S)


def _of_processes(root: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (process / "mountinfo").read_text()
        except OSError:  # ended since it was listed; a zombie has no mounts to show
            continue
        if root in command or root in mounts:
            found.append(f"{process.name}: {command}")
    return found
