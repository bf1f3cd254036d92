"""The service manager's notification protocol, sd_notify(3)."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Tell systemd, for example, `READY=1`. Without $NOTIFY_SOCKET, set by systemd alone, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.sendall(state.encode())
