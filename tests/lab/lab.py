"""The lab: makes hosts, finds them, and removes what owners that were killed left behind."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import IO

from . import controller, teardown
from .base import Recipe, ensure, recipe_of
from .errors import LabError
from .host import Host
from .network import Network, choose, parse
from .outfit import DEFAULT_OPTIONS, Options, lend_packages, outfit_of
from .process import Process, run
from .requirements import require, require_root
from .spec import HostDir, Spec, host_dir

_DEFAULT_ROOT = "/var/tmp/sglang-piper-lab"
_CHECKOUT = Path(__file__).resolve().parents[2]


class Lab:
    """Hosts on this machine, in the folder `root`; used as a context, its hosts go with it.

    They also go when the process ends in any other way. `root` defaults to $SGLANG_PIPER_LAB or
    /var/tmp/sglang-piper-lab, `subnet` (a /24) to $SGLANG_PIPER_LAB_SUBNET or the first free one of
    198.18.0.0/15.
    """

    def __init__(self, root: Path | None = None, subnet: str | None = None) -> None:
        self.root = root or Path(os.environ.get("SGLANG_PIPER_LAB") or _DEFAULT_ROOT)
        self._subnet = subnet or os.environ.get("SGLANG_PIPER_LAB_SUBNET") or None
        self._own: list[Host] = []

    def __enter__(self) -> Lab:
        """Raises LabError if this machine cannot hold hosts."""
        require()
        self._open_root()
        self.collect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in reversed(self._own):
            host.down()
        self._own.clear()

    def up(
        self,
        name: str,
        ip: str | None = None,
        *,
        suite: str = "bookworm",
        flavour: str = "managed",
        options: Options = DEFAULT_OPTIONS,
    ) -> Host:
        """Make a host, boot it and wait until it is ready.

        `flavour`: "managed" has the Python that Ansible needs on the far side, "minimal" has none.
        Raises LabError; then nothing is left of the host.
        """
        folder = host_dir(self._hosts, name)
        recipe = recipe_of(suite, flavour)
        self._refuse_taken(folder)
        tree = self._ensure_base(recipe)
        with self._register(folder, ip, recipe, tree, options) as lock:
            host = Host(folder, self._key)
            self._own.append(host)
            word = _supervise(folder, lock)
        try:
            if word != "ok":
                raise LabError(word or f"{name} cannot be started: {teardown.tail(folder.log)}")
            host.wait_ready()
        except LabError:
            self.down(host)
            raise
        return host

    def keep(self, host: Host) -> None:
        """Let the host stay when this lab is left or its process ends, until it is taken down."""
        host.keep()
        self._own.remove(host)

    def down(self, host: Host) -> None:
        """Switch off and delete a host."""
        host.down()
        if host in self._own:
            self._own.remove(host)

    def host(self, name: str) -> Host:
        """The host `name`; LabError if there is none."""
        folder = host_dir(self._hosts, name)
        if not folder.exists():
            names = ", ".join(host.name for host in self.hosts()) or "none"
            raise LabError(f"no host {name!r} (there are: {names})")
        return Host(folder, self._key)

    def hosts(self) -> list[Host]:
        """All hosts, whoever made them, by name."""
        return [Host(folder, self._key) for folder in self._folders() if folder.exists()]

    def base(self, suite: str, flavour: str) -> Path:
        """The root of a base, built if it is not there yet."""
        return self._ensure_base(recipe_of(suite, flavour))

    def collect(self) -> None:
        """Remove what hosts left behind whose supervisors were killed."""
        with teardown.machine_lock():
            self._collect_locked()

    def _collect_locked(self) -> None:
        for folder in self._folders():
            if teardown.is_abandoned(folder):
                teardown.remove_locked(folder)
        teardown.remove_unused_network(self._hosts)

    @property
    def _hosts(self) -> Path:
        return self.root / "hosts"

    @property
    def _key(self) -> Path:
        return self.root / "id_ed25519"

    def _folders(self) -> list[HostDir]:
        return [HostDir(path) for path in sorted(self._hosts.iterdir())] if self._hosts.is_dir() else []

    def _specs(self) -> list[Spec]:
        return [folder.read() for folder in self._folders() if folder.exists()]

    def _open_root(self) -> None:
        require_root()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Anybody may make a folder of this name in /var/tmp; what lies in it becomes root's files here.
        if self.root.stat().st_uid != 0 or self.root.is_symlink():
            raise LabError(f"{self.root} is not a folder of root's: remove it, or set SGLANG_PIPER_LAB")
        self._hosts.mkdir(exist_ok=True)

    def _ensure_base(self, recipe: Recipe) -> Path:
        return ensure(self.root / "base", recipe, lambda: {Path(spec.base) for spec in self._specs()})

    def _refuse_taken(self, folder: HostDir) -> None:
        if folder.exists():
            raise LabError(
                f"there is a host {folder.name!r} already: take it down first, or choose another name"
            )

    @contextmanager
    def _register(
        self, folder: HostDir, ip: str | None, recipe: Recipe, tree: Path, options: Options
    ) -> Iterator[IO[str]]:
        """Give the host its address and its folder, whose lock is to be handed on to its supervisor."""
        outfit = outfit_of(options, controller.registries(), self.root / "cache", recipe.suite)
        self._make_key()
        with teardown.machine_lock():
            self._collect_locked()
            self._refuse_taken(folder)
            network = self._network_up()
            address = network.address(ip, (spec.ip for spec in self._specs()))
            for path in (folder.path, folder.upper, folder.work, folder.root):
                path.mkdir()
            if outfit.apt_cache:
                lend_packages(outfit.apt_cache, folder.apt_archives)
            lock = folder.lock.open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            spec = Spec(
                name=folder.name,
                address=str(address),
                subnet=str(network.subnet),
                suite=recipe.suite,
                flavour=recipe.flavour,
                base=str(tree),
                owner=Process.current(),
                seed=str(options.seed.resolve()) if options.seed else None,
                apt_cache=str(outfit.apt_cache) if outfit.apt_cache else None,
                binds=outfit.binds,
                nspawn_args=tuple(options.nspawn_args),
                files={**outfit.files, **self._identity(folder, address)},
            )
            folder.write(spec)
        with lock:
            yield lock

    def _network_up(self) -> Network:
        record = teardown.network_record(self._hosts)
        if record.exists():
            network = parse(record.read_text())
            if self._subnet and parse(self._subnet) != network:
                raise LabError(
                    f"there are hosts on {network.subnet}: "
                    "take them down before you change SGLANG_PIPER_LAB_SUBNET"
                )
        else:
            network = choose(self._subnet)
            record.write_text(str(network.subnet))
        network.up()
        return network

    def _identity(self, folder: HostDir, address: IPv4Address) -> dict[str, tuple[int, str]]:
        """What makes the host this one: name, keys. Its public key is made known on this machine."""
        key = folder.path / "ssh_host_ed25519_key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{folder.name}", "-f", key)
        public = key.with_suffix(".pub").read_text()
        folder.known_hosts.write_text(f"{address} {public}")
        return {
            "/etc/hostname": (0o644, f"{folder.name}\n"),
            "/etc/hosts": (
                0o644,
                f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {folder.name}\n",
            ),
            "/etc/ssh/ssh_host_ed25519_key": (0o600, key.read_text()),
            "/etc/ssh/ssh_host_ed25519_key.pub": (0o644, public),
            "/root/.ssh/authorized_keys": (0o600, self._key.with_suffix(".pub").read_text()),
        }

    def _make_key(self) -> None:
        with teardown.machine_lock():
            if not self._key.exists():
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self._key)


def _supervise(folder: HostDir, lock: IO[str]) -> str:
    """Start the supervisor, which outlives this process; returns "ok" or what went wrong."""
    # In a session of its own, so that a Ctrl-C in our terminal does not reach it.
    command = ["setsid", "--fork", sys.executable, "-m", f"{__package__}.supervisor", str(folder.path)]
    with folder.log.open("a") as log:
        started = subprocess.run(
            [*command, "--lock", str(lock.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
            pass_fds=(lock.fileno(),),
            check=False,
        )
    return started.stdout
