"""What this machine must have before it can hold hosts."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from .errors import LabError
from .process import PATH, run

log = logging.getLogger(__name__)

# Command or file → the Debian package that brings it.
_PACKAGE_OF = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "scp": "openssh-client",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    # mmdebstrap checks the base's signatures with it; other distributions do not have it installed.
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


def require() -> None:
    """Make sure that hosts can be made here; packages that are missing are installed.

    Raises LabError if the user is not root, or something is missing that cannot be installed.
    """
    require_root()
    _install(missing_packages())
    _require_overlayfs()


def require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it mounts file systems and makes networks. Run it with sudo.")


def missing_packages() -> list[str]:
    """The Debian packages that hold the commands and files the lab needs and does not find."""
    return sorted({package for needed, package in _PACKAGE_OF.items() if not _is_there(needed)})


def _is_there(needed: str) -> bool:
    return Path(needed).exists() if needed.startswith("/") else shutil.which(needed, path=PATH) is not None


def _install(packages: list[str]) -> None:
    if not packages:
        return
    names = " ".join(packages)
    if not _is_there("apt-get"):
        raise LabError(
            f"missing: {names}, and there is no apt-get here to install them. Install them by hand."
        )
    log.info("installing what the lab needs on this machine: %s", names)
    os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
    run("apt-get", "-q", "update")
    run("apt-get", "-q", "install", "--yes", "--no-install-recommends", *packages)


def _require_overlayfs() -> None:
    if not _knows_overlayfs():
        run("modprobe", "overlay", check=False)
    if not _knows_overlayfs():
        raise LabError(
            "this kernel has no overlayfs, of which the hosts' disks are made "
            "(`modprobe overlay` did not bring it). Use a kernel that has it."
        )


def _knows_overlayfs() -> bool:
    return "\toverlay\n" in Path("/proc/filesystems").read_text()
