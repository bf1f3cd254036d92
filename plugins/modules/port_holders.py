#!/usr/bin/python
"""Which service listens on which TCP port, read from /proc."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

DOCUMENTATION = """
module: port_holders
short_description: tells which process and systemd unit listens on TCP ports
description:
  - Reads /proc only, so it works on a host where nothing is installed yet, and in check mode.
options:
  ports:
    description: the TCP ports to look at
    type: list
    elements: int
    required: true
"""

RETURN = """
holders:
  description: one entry for each of the ports that something listens on
  returned: always
  type: list
  elements: dict
  sample: [{"port": 443, "process": "nginx", "unit": "nginx.service"}]
"""

LISTEN = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h


def listening_inodes(table: str) -> dict[str, int]:
    """Map socket inode → port for the listening rows of a /proc/net/tcp table."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {row[9]: int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTEN}


def unit_of(cgroup: str) -> str:
    """Take the systemd unit out of a /proc/PID/cgroup text; empty when the process is in none."""
    units = re.findall(r"/([^/\n]+\.service)\b", cgroup)
    return units[-1] if units else ""


def open_files(process: Path) -> Iterator[str]:
    """What the descriptors of /proc/PID point to; raises OSError when the process is gone."""
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed while we looked
            yield str(descriptor.readlink())


def holders(ports: set[int], proc: Path = Path("/proc")) -> list[dict[str, object]]:
    """List who listens on `ports`: dictionaries of port, process and unit."""
    inodes: dict[str, int] = {}
    for table in ("net/tcp", "net/tcp6"):
        if (proc / table).exists():
            inodes |= listening_inodes((proc / table).read_text())
    inodes = {inode: port for inode, port in inodes.items() if port in ports}
    found: dict[int, dict[str, object]] = {
        port: {"port": port, "process": "unknown", "unit": ""} for port in inodes.values()
    }
    for process in proc.glob("[0-9]*") if inodes else ():
        try:
            links = set(open_files(process))
            for port in {port for inode, port in inodes.items() if f"socket:[{inode}]" in links}:
                name = (process / "comm").read_text().strip()
                unit = unit_of((process / "cgroup").read_text())
                found[port] = {"port": port, "process": name, "unit": unit}
        except OSError:  # the process ended while we looked
            continue
    return [found[port] for port in sorted(found)]


def main() -> None:
    """Ansible's way in."""
    from ansible.module_utils.basic import AnsibleModule

    module = AnsibleModule(
        argument_spec={"ports": {"type": "list", "elements": "int", "required": True}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, holders=holders(set(module.params["ports"])))


if __name__ == "__main__":
    main()
