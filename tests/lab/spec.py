"""What a host is made from, and its folder on this machine, which holds all that is needed to undo it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from . import network
from .errors import LabError
from .network import Network
from .process import Process

# The longest that still leaves room for the sockets' paths, which the kernel cuts at 108 bytes.
_NAME_MAX = 32
_SOCKET_PATH_MAX = 107
# ssh binds its socket under a temporary name with this many characters more.
_SSH_SOCKET_SUFFIX = 18


@dataclass(frozen=True)
class Spec:
    """A host, as it was asked for.

    `files`: absolute path in the host → (mode, content), written before the first boot; `binds`:
    options of systemd-nspawn; `owner`: the process with whose end the host goes, None: it stays.
    """

    name: str
    address: str
    subnet: str
    suite: str
    flavour: str
    base: str
    owner: Process | None
    seed: str | None = None
    apt_cache: str | None = None
    binds: tuple[str, ...] = ()
    nspawn_args: tuple[str, ...] = ()
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        return network.parse(self.subnet)

    @property
    def ip(self) -> IPv4Address:
        return IPv4Address(self.address)

    @property
    def cgroup(self) -> str:
        # From the interface, not the name: two labs on one machine may both have a host "one".
        return self.network.interface(self.ip)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        fields: dict[str, Any] = json.loads(text)
        owner = fields.pop("owner")
        return cls(
            **{
                **fields,
                "binds": tuple(fields["binds"]),
                "nspawn_args": tuple(fields["nspawn_args"]),
                "files": {path: (mode, content) for path, (mode, content) in fields["files"].items()},
            },
            owner=Process(**owner) if owner else None,
        )


@dataclass(frozen=True)
class HostDir:
    """The folder of one host. While its `lock` is held, somebody looks after the host."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def control(self) -> Path:
        """The socket on which the supervisor takes orders."""
        return self.path / "control"

    @property
    def ssh_control(self) -> Path:
        """The socket of the shared ssh connection."""
        return self.path / "ssh"

    @property
    def known_hosts(self) -> Path:
        return self.path / "known_hosts"

    @property
    def console(self) -> Path:
        return self.path / "console.log"

    @property
    def log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def upper(self) -> Path:
        """The host's disk: what differs from the base."""
        return self.path / "upper"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def root(self) -> Path:
        """Where the host's name space has its root file system; empty, seen from this machine."""
        return self.path / "root"

    @property
    def apt_archives(self) -> Path:
        return self.path / "apt-archives"

    def read(self) -> Spec:
        return Spec.from_json((self.path / "host.json").read_text())

    def write(self, spec: Spec) -> None:
        # In one step: a reader, or a supervisor that is killed, never sees half of it.
        part = self.path / "host.json.part"
        part.write_text(spec.to_json())
        part.rename(self.path / "host.json")

    def exists(self) -> bool:
        return (self.path / "host.json").exists()


def host_dir(hosts: Path, name: str) -> HostDir:
    """The folder of `name` in `hosts`, which need not exist. LabError if `name` is no host name."""
    if not re.fullmatch(rf"[a-z0-9]([a-z0-9-]{{0,{_NAME_MAX - 2}}}[a-z0-9])?", name):
        raise LabError(
            f"{name!r} is no name for a host: use a-z, 0-9 and inner dashes, {_NAME_MAX} characters at most"
        )
    host = HostDir(hosts / name)
    if len(str(host.ssh_control)) + _SSH_SOCKET_SUFFIX > _SOCKET_PATH_MAX:
        raise LabError(
            f"{hosts} is too long a path for sockets below it: set SGLANG_PIPER_LAB to a shorter one"
        )
    return host
