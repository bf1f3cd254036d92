"""Throw-away systemd hosts on this machine, for real converges: systemd-nspawn over overlayfs, and ssh.

    with Lab() as lab:
        host = lab.up("one")
        host.run("systemctl is-system-running")

Everything is gone when the block, or the process, ends. `python -m tests.lab --help` does the same by hand.
"""

from .errors import CommandFailed, LabError
from .host import Host
from .inventory import inventory
from .lab import Lab
from .outfit import Options

__all__ = ["CommandFailed", "Host", "Lab", "LabError", "Options", "inventory"]
