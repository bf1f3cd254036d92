"""What a test can do with a lab host, on real ones."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import CommandFailed, Host, Lab, LabError, Options, inventory

if TYPE_CHECKING:  # pytest itself imports its plugins
    from tests.lab.fixtures import MakeHost

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = pytest.mark.lab

_MEMORY_HOG = "python3 -c 'b = bytearray(256 << 20); print(len(b))'"


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    host = lab.up(f"hosts-{os.getpid()}")
    yield host
    lab.down(host)


def _accepts_ssh(host: Host) -> bool:
    try:
        with socket.create_connection((host.ip, 22), timeout=1.0):
            return True
    except TimeoutError:
        return False


def test_a_host_runs_systemd_under_its_name(host: Host) -> None:
    assert host.run("cat /proc/1/comm; hostname; id -un").stdout.split() == ["systemd", host.name, "root"]
    assert host.wait_ready() == "running"


def test_arguments_arrive_as_they_are(host: Host) -> None:
    assert host.run(["printf", "%s|", "a b", "$HOME", "'"]).stdout == "a b|$HOME|'|"
    assert host.run("cat", text="héllo").stdout == "héllo"


def test_a_failed_command_says_all_there_is_to_know(host: Host) -> None:
    with pytest.raises(CommandFailed, match="no such thing") as failed:
        host.run("echo before; echo no such thing >&2; exit 7")
    assert (failed.value.returncode, failed.value.stdout) == (7, "before\n")
    assert host.run("exit 7", check=False).returncode == 7


def test_a_command_that_takes_too_long_is_given_up(host: Host) -> None:
    with pytest.raises(LabError, match=r"not done after 0\.5 s"):
        host.run("sleep 60", timeout_s=0.5)


def test_files_travel_both_ways(host: Host, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 1000)
    host.put(sent, "/root/there")
    host.get("/root/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == sent.read_bytes()


def test_a_reboot_keeps_disk_and_address(host: Host) -> None:
    before = host.boot_id()
    host.run("echo kept > /root/kept; echo gone > /run/gone")
    host.reboot()
    assert host.boot_id() != before
    assert host.run("cat /root/kept; ls /run/gone", check=False).stdout == "kept\n"


def test_a_power_cut_keeps_the_disk_and_nothing_else(host: Host) -> None:
    host.run("echo kept > /root/kept; systemd-run --unit=busy sleep infinity")
    host.cut()
    assert not host.is_on()
    with pytest.raises(LabError, match="cannot be reached"):
        host.run("true")
    host.start()
    assert host.run("cat /root/kept").stdout == "kept\n"
    assert host.run("systemctl is-active busy", check=False).stdout == "inactive\n"


def test_a_host_that_powers_off_can_be_started_again(host: Host) -> None:
    host.run("systemctl poweroff", check=False)
    host.wait_off()
    with pytest.raises(LabError, match="switched off"):
        host.wait_ready()
    host.start()
    with pytest.raises(LabError, match="running already"):
        host.start()


def test_a_parted_host_is_silent_and_comes_back(host: Host) -> None:
    host.network(False)
    try:
        assert not _accepts_ssh(host)
    finally:
        host.network(True)
    assert _accepts_ssh(host)
    assert host.run("true").returncode == 0


def test_memory_limits_are_enforced(host: Host) -> None:
    host.run(f"systemd-run --quiet --wait {_MEMORY_HOG}")
    limited = host.run(f"systemd-run --wait -p MemoryMax=64M {_MEMORY_HOG}", check=False)
    assert limited.returncode != 0
    assert "status=KILL" in limited.stderr


def test_sysctls_of_a_host_are_its_own(host: Host) -> None:
    swappiness = Path("/proc/sys/vm/swappiness")
    machine = swappiness.read_text()
    host.run("echo 7 > /proc/sys/vm/swappiness")
    assert host.run("cat /proc/sys/vm/swappiness").stdout == "7\n"
    assert swappiness.read_text() == machine


def test_apt_reaches_its_mirror(host: Host) -> None:
    host.run("apt-get -q update")


def test_hosts_reach_each_other(host: Host, lab_host: MakeHost) -> None:
    other = lab_host("other")
    assert other.ip != host.ip
    assert other.run(f"exec 3<>/dev/tcp/{host.ip}/22; head -c 4 <&3", check=False).returncode != 127
    assert other.run(["bash", "-c", f"exec 3<>/dev/tcp/{host.ip}/22; head -c 4 <&3"]).stdout == "SSH-"


def test_nobody_outside_the_machine_reaches_a_host(host: Host, outside: str) -> None:
    with socket.create_server((_NEIGHBOUR_GATEWAY, 0)) as machine:
        assert _knock(outside, _NEIGHBOUR_GATEWAY, machine.getsockname()[1])
    assert not _knock(outside, host.ip, 22)


_NEIGHBOUR_GATEWAY = "203.0.113.1"


def _knock(namespace: str, address: str, port: int) -> bool:
    connect = f"import socket; socket.create_connection(({address!r}, {port}), timeout=2.0)"
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", connect], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.fixture
def outside() -> Iterator[str]:
    """A neighbour of this machine, in a network namespace, that routes the hosts' addresses here."""
    name = f"outside-{os.getpid()}"
    link = f"out{os.getpid()}"
    for command in (
        f"ip netns add {name}",
        f"ip link add {link} type veth peer name eth0 netns {name}",
        f"ip address add {_NEIGHBOUR_GATEWAY}/24 dev {link}",
        f"ip link set {link} up",
        f"ip -n {name} address add 203.0.113.2/24 dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} route add default via {_NEIGHBOUR_GATEWAY}",
    ):
        subprocess.run(command.split(), check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def test_options_shape_a_host(lab_host: MakeHost, tmp_path: Path) -> None:
    seed, shared, readable = (tmp_path / name for name in ("seed", "shared", "readable"))
    (seed / "etc").mkdir(parents=True)
    (seed / "etc/seeded").write_text("yes\n")
    for folder in (shared, readable):
        folder.mkdir()
    options = Options(
        bind=[shared],
        bind_ro=[readable],
        seed=seed,
        env={"LAB_TEST": "a value"},
        nspawn_args=["--bind-ro=/usr/local/lab/sysctl/vm/swappiness:/proc/version"],
        cache=False,
    )
    host = lab_host("options", flavour="minimal", options=options)
    assert host.run("cat /etc/seeded; echo $LAB_TEST").stdout == "yes\na value\n"
    host.run(f"echo written > {shared}/file")
    assert (shared / "file").read_text() == "written\n"
    assert host.run(f"touch {readable}/file", check=False).returncode != 0
    assert host.run("cat /proc/version").stdout.strip().isdigit()
    assert host.run("echo -n $UV_CACHE_DIR").stdout == ""
    assert host.run("command -v python3", check=False).returncode != 0


def test_ansible_reaches_a_host_by_its_inventory(host: Host, tmp_path: Path) -> None:
    (tmp_path / "inventory.yml").write_text(inventory({"llm": [host]}))
    ansible = Path(sys.executable).with_name("ansible")
    ping = subprocess.run(
        [ansible, "-i", tmp_path / "inventory.yml", "llm", "-m", "ansible.builtin.ping"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ping.returncode == 0, ping.stderr
    assert "pong" in ping.stdout


def test_what_cannot_be_had_is_refused(lab: Lab, host: Host, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="already"):
        lab.up(host.name)
    with pytest.raises(LabError, match="taken by another host"):
        lab.up("second", host.ip)
    with pytest.raises(LabError, match="no address for a host"):
        lab.up("second", "10.0.0.1")
    with pytest.raises(LabError, match="cannot bind"):
        lab.up("second", options=Options(bind=[tmp_path / "missing"]))
    with pytest.raises(LabError, match="no folder"):
        lab.up("second", options=Options(seed=tmp_path / "missing"))
    with pytest.raises(LabError, match=r"no host 'missing' \(there are: .*" + host.name):
        lab.host("missing")
    assert "second" not in [other.name for other in lab.hosts()]


def test_a_host_that_cannot_boot_says_why_and_leaves_nothing(lab: Lab) -> None:
    with pytest.raises(LabError, match="no-such-option"):
        lab.up("broken", options=Options(nspawn_args=["--no-such-option"]))
    assert "broken" not in [other.name for other in lab.hosts()]
