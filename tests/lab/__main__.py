"""The lab by hand: `python -m tests.lab --help`."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .base import FLAVOURS, SUITES
from .errors import LabError
from .host import Host
from .inventory import inventory
from .lab import Lab
from .outfit import Options

# As a shell reports a command that Ctrl-C ended.
_EXIT_INTERRUPTED = 130

_ENVIRONMENT = """\
environment:
  SGLANG_PIPER_LAB         where hosts, bases and caches lie (default: /var/tmp/sglang-piper-lab)
  SGLANG_PIPER_LAB_SUBNET  the hosts' /24 (default: the first free one of 198.18.0.0/15)
"""


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, format="lab: %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    command: Callable[[Lab, argparse.Namespace], None] = args.command
    try:
        with Lab() as lab:
            command(lab, args)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; what was begun is removed", file=sys.stderr)
        return _EXIT_INTERRUPTED
    return 0


def _up(lab: Lab, args: argparse.Namespace) -> None:
    options = Options(
        bind=args.bind,
        bind_ro=args.bind_ro,
        seed=args.seed,
        env=dict(args.env),
        nspawn_args=args.nspawn_arg,
        cache=args.cache,
    )
    start = time.monotonic()
    host = lab.up(args.name, args.ip, suite=args.suite, flavour=args.flavour, options=options)
    lab.keep(host)
    print(f"{host.name} is up at {host.ip} after {time.monotonic() - start:.1f} s")


def _exec(lab: Lab, args: argparse.Namespace) -> None:
    host = _running(lab, args.name)
    # One word is a line for the shell, several are a command and its arguments.
    line = args.words[0] if len(args.words) == 1 else shlex.join(args.words)
    _become(host.ssh_argv(line))


def _ssh(lab: Lab, args: argparse.Namespace) -> None:
    _become(_running(lab, args.name).ssh_argv(tty=True))


def _cut(lab: Lab, args: argparse.Namespace) -> None:
    lab.host(args.name).cut()


def _start(lab: Lab, args: argparse.Namespace) -> None:
    lab.host(args.name).start()


def _down(lab: Lab, args: argparse.Namespace) -> None:
    if bool(args.names) == args.all:
        raise LabError("name the hosts to take down, or say --all")
    for host in lab.hosts() if args.all else [lab.host(name) for name in args.names]:
        lab.down(host)


def _list(lab: Lab, args: argparse.Namespace) -> None:
    rows = [("NAME", "IP", "STATE", "UP", "BASE", "STAYS"), *(_row(host) for host in lab.hosts())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(host: Host) -> tuple[str, ...]:
    try:
        since = host.on_since()
        state = "off" if since is None else "on"
    except LabError:  # others' hosts come and go, and may hang, while we look
        since, state = None, "no answer"
    up = "-" if since is None else _duration(time.time() - since)
    stays = "until down" if host.is_persistent else "with its owner"
    return host.name, host.ip, state, up, f"{host.suite}-{host.flavour}", stays


def _base(lab: Lab, args: argparse.Namespace) -> None:
    for flavour in args.flavour or FLAVOURS:
        print(lab.base(args.suite, flavour))


def _network(lab: Lab, args: argparse.Namespace) -> None:
    lab.host(args.name).network(args.connect)


def _inventory(lab: Lab, args: argparse.Namespace) -> None:
    hosts = [lab.host(name) for name in args.names] or lab.hosts()
    print(inventory(dict.fromkeys(args.group, hosts)), end="")


def _running(lab: Lab, name: str) -> Host:
    host = lab.host(name)
    if not host.is_on():
        raise LabError(f"{name} is switched off: `python -m tests.lab start {name}`")
    return host


def _become(argv: list[str]) -> None:
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab",
        description="Throw-away systemd hosts on this machine, reached by ssh as root.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[Lab, argparse.Namespace], None], what: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=what, description=what)
        sub.set_defaults(command=command)
        return sub

    up = add("up", _up, "make a host and leave it running until `down`")
    up.add_argument("name")
    up.add_argument("--ip", help="its address (default: the first free one)")
    up.add_argument(
        "--suite", default="bookworm", choices=SUITES, help="Debian release (default: %(default)s)"
    )
    up.add_argument(
        "--flavour",
        default="managed",
        choices=FLAVOURS,
        help="with Python for Ansible, or minimal (default: %(default)s)",
    )
    up.add_argument("--bind", type=Path, action="append", default=[], metavar="PATH", help="share, writable")
    up.add_argument(
        "--bind-ro", type=Path, action="append", default=[], metavar="PATH", help="share, to read only"
    )
    up.add_argument("--seed", type=Path, metavar="FOLDER", help="copied over the root before the boot")
    up.add_argument(
        "--env", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="for every login"
    )
    up.add_argument("--nspawn-arg", action="append", default=[], metavar="ARG", help="for systemd-nspawn")
    up.add_argument("--no-cache", dest="cache", action="store_false", help="download everything afresh")
    run = add("exec", _exec, "run a command in a host; its exit status is ours")
    run.add_argument("name")
    run.add_argument(
        "words", nargs="+", metavar="COMMAND", help="one word: a line for the shell; more: as they are"
    )
    add("ssh", _ssh, "a shell in a host").add_argument("name")
    add("cut", _cut, "cut a host's power; its disk stays").add_argument("name")
    add("start", _start, "switch a host on again").add_argument("name")
    down = add("down", _down, "switch hosts off and delete them")
    down.add_argument("names", nargs="*", metavar="NAME")
    down.add_argument("--all", action="store_true")
    add("list", _list, "hosts with address, state and time since they were switched on")
    base = add("base", _base, "build the bases now (hosts do it when they need one)")
    base.add_argument(
        "--suite", default="bookworm", choices=SUITES, help="Debian release (default: %(default)s)"
    )
    base.add_argument("--flavour", action="append", choices=FLAVOURS, help="only this one")
    for name, connect, what in (
        ("net-down", False, "part a host from the network"),
        ("net-up", True, "connect a parted host again"),
    ):
        sub = add(name, _network, what)
        sub.add_argument("name")
        sub.set_defaults(connect=connect)
    inv = add("inventory", _inventory, "print Ansible's inventory of hosts (default: of all)")
    inv.add_argument("names", nargs="*", metavar="NAME")
    inv.add_argument("--group", action="append", default=[], help="a group with all of them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
