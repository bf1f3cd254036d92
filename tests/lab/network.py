"""The network of the hosts: a bridge with a /24, translated to this machine's address on the way out.

Nothing outside this machine can open a connection to a host.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path

from .errors import LabError
from .process import run

# RFC 2544: addresses for tests between machines, never routed anywhere.
_CANDIDATES = IPv4Network("198.18.0.0/15")
_FIRST_CANDIDATE = 53
_FIRST_HOST = 10

_BRIDGE_PREFIX = "lab-"
_IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
# What ip_forward was before the first lab on this machine; gone after a reboot, as is the setting.
_IP_FORWARD_BEFORE = Path("/run/sglang-piper-lab/ip_forward")

_NFT = """\
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  chain lab_postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr {subnet} ip daddr != {subnet} masquerade
  }}
  chain lab_forward {{
    type filter hook forward priority filter
    iifname "{bridge}" tcp flags syn tcp option maxseg size set rt mtu
    iifname != "{bridge}" oifname "{bridge}" ct state new drop
  }}
}}
"""


@dataclass(frozen=True)
class Network:
    """One lab's network; every name in it follows from the subnet."""

    subnet: IPv4Network

    @property
    def bridge(self) -> str:
        return f"{_BRIDGE_PREFIX}{int(self.subnet.network_address) >> 8:06x}"

    @property
    def gateway(self) -> IPv4Address:
        return self.subnet[1]

    def interface(self, address: IPv4Address) -> str:
        """This machine's end of the cable to the host at `address` (15 characters are the kernel's limit)."""
        return f"{self.bridge}-{int(address) & 0xFF:02x}"

    def up(self) -> None:
        """Make the bridge and its rules; does nothing that is done already. Hold the machine's lock."""
        if self.bridge not in _bridges():
            run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "replace", f"{self.gateway}/{self.subnet.prefixlen}", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        run("nft", "-f", "-", text=_NFT.format(table=self._table, bridge=self.bridge, subnet=self.subnet))
        _forward()

    def down(self) -> None:
        """Remove all that `up` made; forwarding is put back with the last lab. Hold the machine's lock."""
        run("nft", "delete", "table", "inet", self._table, check=False)
        if self.bridge in _bridges():
            run("ip", "link", "delete", self.bridge)
        if not _bridges():
            _put_forwarding_back()

    def address(self, wanted: str | None, taken: Iterable[IPv4Address]) -> IPv4Address:
        """`wanted`, or the first free address; LabError if it is not one of this network, or taken."""
        used = set(taken)
        if wanted is None:
            free = (a for a in list(self.subnet.hosts())[_FIRST_HOST - 1 :] if a not in used)
            address = next(free, None)
            if address is None:
                raise LabError(f"every address of {self.subnet} is taken: take hosts down")
            return address
        try:
            address = IPv4Address(wanted)
        except AddressValueError as error:
            raise LabError(f"not an IPv4 address: {wanted}") from error
        if address not in self.subnet.hosts() or address == self.gateway:
            raise LabError(
                f"{address} is no address for a host of {self.subnet} ({self.gateway} is this machine)"
            )
        if address in used:
            raise LabError(f"{address} is taken by another host")
        return address

    @property
    def _table(self) -> str:
        return self.bridge.replace("-", "_")


def plug(network: Network, address: IPv4Address, machine: int) -> None:
    """Give the caller's network namespace `eth0` with `address`, cabled to the bridge of the machine.

    `machine` is a descriptor of the machine's network namespace; the caller is PID 1 of its namespace.
    """
    outside = network.interface(address)
    in_machine = ("nsenter", f"--net=/proc/1/fd/{machine}", "--", "ip", "link")
    # From the address, so that neighbours find a host at once after it was switched off and on.
    mac = "02:{:02x}:{:02x}:{:02x}:{:02x}:01".format(*address.packed)
    run(*in_machine, "delete", outside, check=False)
    run(*in_machine, "add", outside, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", "1")
    run(*in_machine, "set", outside, "master", network.bridge, "up")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{address}/{network.subnet.prefixlen}", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", str(network.gateway))


def set_link(network: Network, address: IPv4Address, *, up: bool) -> None:
    """Connect or part a running host. Parted, what is on its way is lost, and nobody is told."""
    run("ip", "link", "set", network.interface(address), "up" if up else "down")


def unplug(network: Network, address: IPv4Address) -> None:
    """Remove the cable to a host, as abruptly. No error if there is none."""
    run("ip", "link", "delete", network.interface(address), check=False)


def choose(wanted: str | None) -> Network:
    """The network on `wanted` ("198.18.53.0/24"), or on the first subnet that nothing here uses.

    Raises LabError if `wanted` is not a /24 or overlaps a route of this machine.
    """
    routes = _routes()
    if wanted is None:
        candidates = list(_CANDIDATES.subnets(new_prefix=24))[_FIRST_CANDIDATE:]
        free = next((c for c in candidates if not _colliding(c, routes)), None)
        if free is None:
            raise LabError(f"no free subnet in {_CANDIDATES}: set SGLANG_PIPER_LAB_SUBNET to a free /24")
        return Network(free)
    network = parse(wanted)
    collision = _colliding(network.subnet, routes)
    if collision:
        raise LabError(
            f"SGLANG_PIPER_LAB_SUBNET {network.subnet} overlaps this machine's route {collision}: "
            "choose another /24"
        )
    return network


def parse(subnet: str) -> Network:
    """The network on `subnet`; LabError if that is not a /24."""
    try:
        network = IPv4Network(subnet)
    except ValueError as error:
        raise LabError(f"SGLANG_PIPER_LAB_SUBNET is not an IPv4 subnet: {error}") from error
    if network.prefixlen != 24:
        raise LabError(f"SGLANG_PIPER_LAB_SUBNET must be a /24, not {network}")
    return Network(network)


def _colliding(subnet: IPv4Network, routes: Iterable[IPv4Network]) -> IPv4Network | None:
    return next((route for route in routes if route.overlaps(subnet)), None)


def _routes() -> list[IPv4Network]:
    shown = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all").stdout or "[]")
    # A default route, or the two halves of one that a VPN sets, collides with nothing in particular.
    nets = [IPv4Network(route["dst"]) for route in shown if route["dst"] != "default"]
    return [net for net in nets if net.prefixlen > 1]


def _bridges() -> list[str]:
    shown = json.loads(run("ip", "-json", "link", "show", "type", "bridge").stdout or "[]")
    # `ip -json` prints an empty object for what its filter leaves out.
    return [link["ifname"] for link in shown if link.get("ifname", "").startswith(_BRIDGE_PREFIX)]


def _forward() -> None:
    if not _IP_FORWARD_BEFORE.exists():
        _IP_FORWARD_BEFORE.parent.mkdir(mode=0o755, exist_ok=True)
        _IP_FORWARD_BEFORE.write_text(_IP_FORWARD.read_text())
    _IP_FORWARD.write_text("1\n")


def _put_forwarding_back() -> None:
    if _IP_FORWARD_BEFORE.exists():
        _IP_FORWARD.write_text(_IP_FORWARD_BEFORE.read_text())
        _IP_FORWARD_BEFORE.unlink()
