from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.lab import LabError, network
from tests.lab.network import Network

_NETWORK = Network(IPv4Network("198.18.53.0/24"))


def test_names_follow_from_the_subnet_and_fit_the_kernel() -> None:
    assert _NETWORK.bridge == "lab-c61235"
    interface = _NETWORK.interface(IPv4Address("198.18.53.250"))
    assert interface == "lab-c61235-fa"
    assert len(interface) <= 15


def test_the_first_free_address_is_given() -> None:
    taken = [IPv4Address("198.18.53.10"), IPv4Address("198.18.53.11")]
    assert _NETWORK.address(None, taken) == IPv4Address("198.18.53.12")
    assert _NETWORK.address("198.18.53.99", taken) == IPv4Address("198.18.53.99")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("198.18.53.10", "taken"),
        ("198.18.53.1", "this machine"),
        ("198.18.53.255", "no address for a host"),
        ("198.18.54.10", "no address for a host"),
        ("one", "not an IPv4 address"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(wanted: str, why: str) -> None:
    with pytest.raises(LabError, match=why):
        _NETWORK.address(wanted, [IPv4Address("198.18.53.10")])


def test_a_full_network_says_so() -> None:
    with pytest.raises(LabError, match="every address"):
        _NETWORK.address(None, _NETWORK.subnet.hosts())


@pytest.mark.parametrize("subnet", ["198.18.53.0/16", "198.18.53.1/24", "198.18.53.0/25", "lan"])
def test_a_subnet_must_be_a_24(subnet: str) -> None:
    with pytest.raises(LabError, match="SGLANG_PIPER_LAB_SUBNET"):
        network.parse(subnet)


def test_a_subnet_in_use_is_neither_chosen_nor_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        network, "_routes", lambda: [IPv4Network("198.18.53.0/24"), IPv4Network("10.0.0.0/8")]
    )
    assert network.choose(None).subnet == IPv4Network("198.18.54.0/24")
    assert network.choose("192.168.77.0/24").subnet == IPv4Network("192.168.77.0/24")
    with pytest.raises(LabError, match=r"overlaps this machine's route 10\.0\.0\.0/8"):
        network.choose("10.1.2.0/24")
