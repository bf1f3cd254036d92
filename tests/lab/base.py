"""The base: a Debian root file system, built once per recipe, that the hosts' disks are laid over."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from . import controller
from .errors import LabError
from .process import PATH, run, tied

log = logging.getLogger(__name__)

# What a clean, minimal server has after installation with "SSH server" as the only choice.
_MINIMAL = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# Flavour → packages. `managed` is what Ansible's modules need on the far side.
FLAVOURS: Mapping[str, tuple[str, ...]] = {
    "minimal": _MINIMAL,
    "managed": (*_MINIMAL, "python3", "python3-apt"),
}
SUITES = ("bookworm", "trixie")

# Relative to the base's root.
_FILES = {
    # A mirror's snapshot may be older than its Valid-Until, and the machine's clock older than both.
    "etc/apt/apt.conf.d/99lab": (
        'Acquire::Languages "none";\nAcquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n'
    ),
    # A throw-away disk need not survive the machine's power cut; fsync costs minutes on a busy one.
    "etc/dpkg/dpkg.cfg.d/99lab": "force-unsafe-io\n",
    "etc/ssh/sshd_config.d/lab.conf": (
        "UseDNS no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        # Ansible and a test each open sessions on one shared connection; ten are too few.
        "MaxSessions 100\n"
    ),
}
_SETUP = """\
update-ca-certificates >/dev/null
# Timers that would fight with a test for dpkg's lock, or look for a volume group.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer
# Each host gets its own.
rm -f /etc/ssh/ssh_host_*
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id
# Emptied lists must look old, or Ansible's cache_valid_time believes they are fresh.
touch --date=@0 /var/lib/apt/lists
"""
# $1: scratch, $2: the tree to fill, then the command that writes a tar of it.
_ON_TMPFS = """\
mount -t tmpfs -o size=4g tmpfs "$1"
export TMPDIR="$1"
tree="$2"
shift 2
"$@" | tar -x -C "$tree" --xattrs --xattrs-include='*' --numeric-owner -f -
"""


@dataclass(frozen=True)
class Recipe:
    """All that decides what is in a base; two equal recipes make the same base."""

    suite: str
    flavour: str
    packages: tuple[str, ...]
    sources: str
    files: Mapping[str, str]
    setup: str

    @property
    def key(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.stem}-{digest[:12]}"

    @property
    def stem(self) -> str:
        return f"{self.suite}-{self.flavour}"


def recipe_of(suite: str, flavour: str) -> Recipe:
    """The recipe for this machine's mirror and certificates. LabError for an unknown suite or flavour."""
    if suite not in SUITES:
        raise LabError(f"unknown suite {suite!r}: choose one of {', '.join(SUITES)}")
    if flavour not in FLAVOURS:
        raise LabError(f"unknown flavour {flavour!r}: choose one of {', '.join(FLAVOURS)}")
    certificates = {
        f"usr/local/share/ca-certificates/{name}": pem for name, pem in controller.own_certificates().items()
    }
    sources = controller.debian_sources(suite)
    files = {**_FILES, **certificates, "etc/apt/sources.list.d/debian.sources": sources}
    return Recipe(suite, flavour, FLAVOURS[flavour], sources, files, _SETUP)


def ensure(bases: Path, wanted: Recipe, in_use: Callable[[], Collection[Path]]) -> Path:
    """The root of the base made by `wanted` in the directory `bases`, built now if it is not there.

    Bases of the same suite and flavour by older recipes are deleted, except those `in_use` returns.
    """
    root = bases / wanted.key
    if root.is_dir():
        return root
    bases.mkdir(parents=True, exist_ok=True)
    with _one_builder(bases, wanted):
        if not root.is_dir():
            _build(bases, wanted, root)
            for old in _outdated(bases, wanted, in_use()):
                shutil.rmtree(old)
    return root


def _build(bases: Path, wanted: Recipe, root: Path) -> None:
    part = bases / f"{wanted.key}.part"
    _delete(part)  # of a builder that was killed
    part.mkdir()
    try:
        with _phase(
            f"base {wanted.key}: Debian {wanted.suite}, {len(wanted.packages)} packages and their needs"
        ):
            _bootstrap(wanted, part)
        with _phase(f"base {wanted.key}: certificates and settings"):
            _write_files(wanted, part)
            run(*tied(["chroot", str(part), "/bin/sh", "-eu"]), text=wanted.setup)
        part.rename(root)
    finally:
        _delete(part)


def _delete(tree: Path) -> None:
    if tree.exists():
        shutil.rmtree(tree)


def _bootstrap(wanted: Recipe, part: Path) -> None:
    # The work is done on a tmpfs, where dpkg's fsyncs cost nothing. It is mounted in a name space of
    # the builder's own, so that it is gone with it however that ends.
    scratch = part.with_suffix(".scratch")
    scratch.mkdir(exist_ok=True)
    bootstrap = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(wanted.packages)}",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Check-Date "false"',
        "--format=tar",
        wanted.suite,
        "-",
        "-",
    ]
    shell = ["bash", "-euo", "pipefail", "-c", _ON_TMPFS, "bash", str(scratch), str(part), *bootstrap]
    try:
        done = subprocess.run(
            tied(shell),
            input=wanted.sources,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"},
            check=False,
        )
    finally:
        scratch.rmdir()
    if done.returncode:
        raise LabError(f"cannot build the base {wanted.key}: mmdebstrap says:\n{done.stderr.strip()[-2000:]}")


def _write_files(wanted: Recipe, part: Path) -> None:
    (part / "etc/apt/sources.list").unlink(missing_ok=True)
    for stray in (part / "etc/apt/sources.list.d").iterdir():
        stray.unlink()
    for name, content in wanted.files.items():
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _outdated(bases: Path, wanted: Recipe, in_use: Collection[Path]) -> list[Path]:
    others = (path for path in bases.glob(f"{wanted.stem}-*") if path.is_dir() and path.name != wanted.key)
    return [path for path in others if path not in in_use]


@contextmanager
def _phase(name: str) -> Iterator[None]:
    log.info("%s …", name)
    start = time.monotonic()
    yield
    log.info("%s: done in %.0f s", name, time.monotonic() - start)


@contextmanager
def _one_builder(bases: Path, wanted: Recipe) -> Iterator[None]:
    with (bases / f"{wanted.stem}.lock").open("w") as lock:
        if not _try_lock(lock):
            log.info("base %s: waiting for another process that builds it …", wanted.key)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
