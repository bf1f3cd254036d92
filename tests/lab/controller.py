"""What a host takes over from this machine, so that apt, pip and uv reach there what they reach here."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .errors import LabError
from .process import run

_OWN_CA_DIR = Path("/usr/local/share/ca-certificates")
_DEBIAN_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
# Where Debian's installer puts them instead, one a line.
_SOURCES_LIST = Path("/etc/apt/sources.list")
_DEBIAN_LINE = re.compile(
    r"^deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>(?:bookworm|trixie)(?:-updates|-security)?)\s+(?P<components>.+)$"
)

# Where packages come from and how they are fetched; not where they go (target, user, cache-dir, …).
_PIP_SETTINGS = {
    "cert": "cert",
    "client-cert": "client-cert",
    "default-timeout": "timeout",
    "extra-index-url": "extra-index-url",
    "find-links": "find-links",
    "index-url": "index-url",
    "no-index": "no-index",
    "proxy": "proxy",
    "retries": "retries",
    "timeout": "timeout",
    "trusted-host": "trusted-host",
}
_PIP_INDEXES = ("index-url", "extra-index-url")
_PIP_PATHS = ("find-links", "cert", "client-cert")
# `pip config list` does not say which wins; pip reads them in this order, the last one wins.
_PIP_SECTIONS = ("global", ":env:")

_UV_SETTINGS = (
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_INDEX_URL",
    "UV_SYSTEM_CERTS",
)
_APT_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check-")


@dataclass(frozen=True)
class Registries:
    """This machine's way to its package registries, for a host.

    `files`: path on the host → content; `directories`: paths here that the host needs to read, at the
    same place; `environment`: what every login on the host gets.
    """

    files: Mapping[str, str]
    directories: tuple[Path, ...]
    environment: Mapping[str, str]


def registries() -> Registries:
    """Read this machine's resolver, apt, pip and uv configuration. LabError if a host could not use it."""
    pip = pip_settings(_pip_config_list())
    files = {
        "/etc/resolv.conf": _resolv_conf(),
        "/etc/pip.conf": render_pip_conf(pip),
        "/etc/apt/apt.conf.d/98controller": _apt_conf(run("apt-config", "dump").stdout),
    }
    uv_toml = next((path for path in _uv_tomls() if path.exists()), None)
    if uv_toml:
        files["/etc/uv/uv.toml"] = uv_toml.read_text()
    environment = {name: os.environ[name] for name in _UV_SETTINGS if name in os.environ}
    if own_certificates():
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    uv_places = [
        word for name in _UV_SETTINGS for word in environment.get(name, "").replace(",", " ").split()
    ]
    directories = {*pip_directories(pip), *_existing(_directory_of_index(word) for word in uv_places)}
    return Registries(files, tuple(sorted(directories)), environment)


def own_certificates() -> dict[str, str]:
    """The certificate authorities this machine trusts besides the public ones: file name → PEM."""
    return {path.name: path.read_text() for path in sorted(_OWN_CA_DIR.glob("*.crt"))}


def debian_sources(suite: str) -> str:
    """Debian's own sources (deb822) for `suite`, from the mirror this machine uses. Raises LabError."""
    text = _DEBIAN_SOURCES.read_text() if _DEBIAN_SOURCES.exists() else _stanzas()
    return re.sub(r"^(Suites:.*)$", lambda line: _for_suite(line[1], suite), text, flags=re.MULTILINE)


def pip_settings(listing: str) -> dict[str, list[str]]:
    """`pip config list` as it counts, environment over files: setting → values, in pip.conf's names."""
    found: dict[str, dict[str, str]] = {section: {} for section in _PIP_SECTIONS}
    for line in listing.splitlines():
        name, equals, value = line.partition("=")
        section, _, setting = name.rpartition(".")
        if equals and section in found:
            found[section][setting] = str(ast.literal_eval(value))
    merged = {**found["global"], **found[":env:"]}
    return {_PIP_SETTINGS[name]: value.split() for name, value in merged.items() if name in _PIP_SETTINGS}


def render_pip_conf(settings: Mapping[str, list[str]]) -> str:
    lines = [f"{name} = " + "\n    ".join(values) for name, values in sorted(settings.items())]
    return "\n".join(["[global]", *lines, ""])


def pip_directories(settings: Mapping[str, list[str]]) -> list[Path]:
    """The directories and files of this machine that the settings name, and that a host lacks."""
    indexes = (_directory_of_index(value) for name in _PIP_INDEXES for value in settings.get(name, ()))
    paths = (_local_path(value) for name in _PIP_PATHS for value in settings.get(name, ()))
    return _existing([*indexes, *paths])


def _existing(paths: Iterable[Path | None]) -> list[Path]:
    # What lies below /etc/ssl/certs the host makes itself.
    own = Path("/etc/ssl/certs")
    return sorted({path for path in paths if path and path.exists() and own not in path.parents})


def _directory_of_index(url: str) -> Path | None:
    path = _local_path(url)
    # The pages of <place>/simple link to the files beside it.
    return path.parent if path and path.name == "simple" and path.parent != Path("/") else path


def _local_path(value: str) -> Path | None:
    if value.startswith("file:"):
        return Path(unquote(urlsplit(value).path))
    return Path(value) if value.startswith("/") else None


def _pip_config_list() -> str:
    # The environment's own pip knows its sys.prefix/pip.conf; an environment made by uv has none.
    environ_pip = [sys.executable, "-m", "pip"]
    pips = [environ_pip, *([path] for name in ("pip", "pip3") if (path := shutil.which(name)))]
    for pip in pips:
        listed = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            return listed.stdout
    return ""


def _uv_tomls() -> Iterator[Path]:
    yield Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    yield Path("/etc/uv/uv.toml")


def _apt_conf(dump: str) -> str:
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(_APT_SETTINGS))


def _stanzas() -> str:
    lines = _SOURCES_LIST.read_text().splitlines() if _SOURCES_LIST.exists() else []
    found = [match for match in map(_DEBIAN_LINE.match, lines) if match]
    if not found:
        raise LabError(
            f"no package sources of Debian 12 or 13 in {_DEBIAN_SOURCES} or {_SOURCES_LIST}: "
            "put the ones that this machine reaches there"
        )
    return "\n".join(
        f"Types: deb\nURIs: {match['uri']}\nSuites: {match['suite']}\nComponents: {match['components']}\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        for match in found
    )


def _for_suite(line: str, suite: str) -> str:
    # bookworm, bookworm-updates, bookworm-security: the part before the dash is the release.
    names = [re.sub(r"^[^-]+", suite, word) for word in line.split()[1:]]
    return " ".join(["Suites:", *names])


def _resolv_conf() -> str:
    # systemd-resolved's stub listens on this machine's loopback; what it asks is in the second file.
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.exists() and _reachable_from_a_host(path.read_text()):
            return path.read_text()
    raise LabError(
        "no name server a host could ask: those in /etc/resolv.conf listen on this machine's loopback only. "
        "Name one that is reachable from the network there."
    )


def _reachable_from_a_host(resolv_conf: str) -> bool:
    servers = re.findall(r"^nameserver\s+(\S+)", resolv_conf, flags=re.MULTILINE)
    return any(not ip_address(server.partition("%")[0]).is_loopback for server in servers)
