"""Ansible's inventory of lab hosts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from .host import Host


def inventory(groups: Mapping[str, Iterable[Host]]) -> str:
    """An inventory with these groups, in JSON, which Ansible reads from a file that ends in .yml."""
    members = {group: list(hosts) for group, hosts in groups.items()}
    known = {host.name: host.ansible_vars() for hosts in members.values() for host in hosts}
    children = {
        group: {"hosts": {host.name: dict[str, str]() for host in hosts}} for group, hosts in members.items()
    }
    return json.dumps({"all": {"hosts": known, "children": children}}, indent=2) + "\n"
