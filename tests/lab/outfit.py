"""What a host gets besides its base: this machine's folders, its way to the registries, shared downloads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .controller import Registries
from .errors import LabError

_UV_CACHE = "/var/cache/uv"
_KEEP_DEBS = 'Binary::apt::APT::Keep-Downloaded-Packages "true";\n'


@dataclass(frozen=True)
class Options:
    """What a host may have, each part as it is needed.

    `bind`, `bind_ro`: paths of this machine the host sees at the same place, writable or not; `seed`: a
    folder copied over the root before the first boot, owners and modes included; `env`: what every
    login gets (/etc/environment); `nspawn_args`: further options of systemd-nspawn; `cache`: share the
    downloads of apt and uv with earlier hosts.
    """

    bind: Sequence[Path] = ()
    bind_ro: Sequence[Path] = ()
    seed: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    nspawn_args: Sequence[str] = ()
    cache: bool = True


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True)
class Outfit:
    """The same in the terms of `Spec`; `apt_cache` is where the host's new packages go in the end."""

    files: Mapping[str, tuple[int, str]]
    binds: tuple[str, ...]
    apt_cache: Path | None


def outfit_of(options: Options, registries: Registries, cache: Path, suite: str) -> Outfit:
    """LabError if a path cannot be had."""
    if options.seed and not options.seed.is_dir():
        raise LabError(f"cannot seed the host from {options.seed}: it is no folder")
    files = dict(registries.files)
    env = dict(registries.environment)
    binds = [
        *_binds("--bind", options.bind),
        *_binds("--bind-ro", [*registries.directories, *options.bind_ro]),
    ]
    apt_cache = cache / "apt" / suite if options.cache else None
    if apt_cache:
        apt_cache.mkdir(parents=True, exist_ok=True)
        (cache / "uv").mkdir(exist_ok=True)
        binds.append(f"--bind={cache / 'uv'}:{_UV_CACHE}")
        # The cache is on another file system than what is installed from it: no hard links.
        env |= {"UV_CACHE_DIR": _UV_CACHE, "UV_LINK_MODE": "copy"}
        files["/etc/apt/apt.conf.d/99lab-cache"] = _KEEP_DEBS
    files["/etc/environment"] = "".join(f"{name}={value}\n" for name, value in {**env, **options.env}.items())
    return Outfit({path: (0o644, content) for path, content in files.items()}, tuple(binds), apt_cache)


def lend_packages(apt_cache: Path, archives: Path) -> None:
    """Give a new host the packages downloaded so far; its own folder, for apt locks the one it uses."""
    archives.mkdir()
    for package in apt_cache.glob("*.deb"):
        os.link(package, archives / package.name)


def _binds(option: str, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        if not path.is_absolute() or not path.exists():
            raise LabError(f"cannot bind {path}: name an absolute path that exists on this machine")
        yield f"{option}={str(path).replace(':', chr(92) + ':')}"
