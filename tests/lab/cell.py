"""The cell a host lives in: first process of the host's name spaces, started by the supervisor.

Everything a running host has on this machine — mounts, interfaces, processes — belongs to these name
spaces, and the kernel takes it away with the cell.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .cgroups import Cgroup
from .errors import LabError
from .network import plug
from .process import PATH, run
from .spec import HostDir, Spec

_INIT = "usr/local/sbin/lab-init"
# Writable to the host, and private: the machine's own stay as they are.
_PRIVATE_SYSCTLS = (
    "fs/file-max",
    "kernel/pid_max",
    "vm/max_map_count",
    "vm/overcommit_memory",
    "vm/swappiness",
)
_SYSCTL_DIR = Path("/usr/local/lab/sysctl")
# systemd-nspawn's exit status when the payload asked for a reboot and no service manager is to do it.
_EXIT_REBOOT = 133


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("host", type=Path)
    parser.add_argument("--seed", action="store_true", help="the disk is new")
    parser.add_argument("--machine-netns", type=int, required=True, metavar="FD")
    parser.add_argument(
        "--status", type=int, required=True, metavar="FD", help="gets a line: `ok` or what went wrong"
    )
    args = parser.parse_args()
    host = HostDir(args.host)
    spec = host.read()
    with os.fdopen(args.status, "w") as status:
        try:
            _prepare(host, spec, args.machine_netns, seed=args.seed)
        except (LabError, OSError, shutil.Error) as error:
            status.write(f"{' '.join(str(error).split())}\n")
            return 1
        status.write("ok\n")
    os.close(args.machine_netns)
    return _power_on(host, spec)


def _prepare(host: HostDir, spec: Spec, machine_netns: int, *, seed: bool) -> None:
    Cgroup(spec.cgroup).enter()
    plug(spec.network, spec.ip, machine_netns)
    # systemd-nspawn keeps its locks and sockets below /run; the machine's stays clean.
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    layers = f"lowerdir={spec.base},upperdir={host.upper},workdir={host.work},index=off,xino=off"
    run("mount", "-t", "overlay", "overlay", "-o", layers, host.root)
    if seed:
        _seed(host.root, spec)


def _seed(root: Path, spec: Spec) -> None:
    for name in _PRIVATE_SYSCTLS:
        _write(root, str(_SYSCTL_DIR / name), 0o644, (Path("/proc/sys") / name).read_text())
    _write(root, f"/{_INIT}", 0o755, Path(__file__).with_name("lab-init").read_text())
    for path, (mode, content) in spec.files.items():
        _write(root, path, mode, content)
    if spec.seed:
        run("cp", "--archive", f"{spec.seed}/.", root)


def _write(root: Path, path: str, mode: int, content: str) -> None:
    target = root / path.removeprefix("/")
    # A secret's folder is as closed as the secret.
    target.parent.mkdir(mode=0o700 if mode == 0o600 else 0o755, parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.touch(mode=mode)
    target.chmod(mode)
    target.write_text(content)


def _power_on(host: HostDir, spec: Spec) -> int:
    environment = {**os.environ, "PATH": PATH, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
    while True:
        status = subprocess.run(_nspawn(host, spec), stdin=subprocess.DEVNULL, env=environment, check=False)
        print(f"lab: systemd-nspawn ended with exit status {status.returncode}", flush=True)
        if status.returncode != _EXIT_REBOOT:
            return status.returncode


def _nspawn(host: HostDir, spec: Spec) -> Sequence[str]:
    # The source of a bind onto /proc is looked up inside the host.
    sysctls = [f"--bind={_SYSCTL_DIR / name}:/proc/sys/{name}" for name in _PRIVATE_SYSCTLS]
    archives = [f"--bind={host.apt_archives}:/var/cache/apt/archives"] if spec.apt_cache else []
    return [
        "systemd-nspawn",
        "--quiet",
        f"--directory={host.root}",
        f"--machine={spec.name}",
        "--register=no",
        "--keep-unit",
        # The cell's own. Named, and so taken for a private one, systemd-nspawn mounts a /sys that shows it.
        "--network-namespace-path=/proc/self/ns/net",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
        "--kill-signal=SIGRTMIN+3",
        # nft, inside, needs it.
        "--capability=CAP_NET_ADMIN",
        *sysctls,
        *archives,
        *spec.binds,
        *spec.nspawn_args,
        f"/{_INIT}",
    ]


if __name__ == "__main__":
    sys.exit(main())
