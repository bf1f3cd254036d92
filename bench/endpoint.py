"""Where the server is, how it is trusted, which key opens it, and what a failed connection means."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import aiohttp

from bench.errors import RequestFailed, Unreachable, UsageError

KEY_VARIABLE = "SGLANG_PIPER_API_KEY"

# Long enough for TLS over a slow link; a host that drops packets is told within the patience of a person.
CONNECT_TIMEOUT_S = 10.0

# Below uvicorn's 5 s: were ours longer, a request could go out on a connection the server is just closing.
KEEPALIVE_S = 4.0

_NOT_READY = {"http_502", "http_503", "http_504"}
_KEY_REFUSED = {"http_401", "http_403"}


@dataclass(frozen=True, slots=True)
class Key:
    """An API key and where it came from; the value never shows in a repr."""

    value: str = field(repr=False)
    source: str


def read_key(path: Path | None, environment: Mapping[str, str]) -> Key | None:
    """The key from the file ``path``, else from SGLANG_PIPER_API_KEY, else None.

    Raises UsageError where the file cannot be read or holds no single word.
    """
    if path is not None:
        return Key(_single_word(_read(path, "--api-key-file"), f"the file {path}"), str(path))
    if value := environment.get(KEY_VARIABLE):
        return Key(_single_word(value, f"the variable {KEY_VARIABLE}"), KEY_VARIABLE)
    return None


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{option} {path} cannot be read: {reason}") from error


def _single_word(text: str, where: str) -> str:
    words = text.split()
    if len(words) != 1 or not words[0].isascii() or not words[0].isprintable():
        raise UsageError(
            f"{where} must hold the key alone, one word on one line (it holds {len(words)} words)"
        )
    return words[0]


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Trust in the system's authorities, and those in ``ca_file``. Raises UsageError for an unusable file."""
    context = ssl.create_default_context()
    if ca_file is not None:
        pem = _read(ca_file, "--ca-file")
        try:
            context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(f"--ca-file {ca_file} holds no PEM certificate") from error
    return context


def check_url(url: str, schemes: tuple[str, ...]) -> str:
    """``url`` without a trailing slash. Raises UsageError, with an example, for another scheme."""
    example = f"{schemes[0]}://HOST" + ("/tts" if schemes[0] == "wss" else "")
    parts = _split(url)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        raise UsageError(f"{url!r} is no {' or '.join(schemes)} URL; it looks like {example}")
    if "@" in parts.netloc or parts.query:
        raise UsageError(f"the URL must carry no key: give it with --api-key-file FILE or {KEY_VARIABLE}")
    return url.rstrip("/")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # is parsed only when asked for, and raises then
    except ValueError:
        return None
    return parts


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server as one client sees it: ``url`` without a trailing slash, its TLS trust, its key."""

    url: str
    tls: ssl.SSLContext
    key: Key | None = None
    ca_file: Path | None = None

    def session(self, timeout_s: float | None) -> aiohttp.ClientSession:
        """A client session with no limit on connections; ``timeout_s`` bounds one whole request."""
        headers = {"Authorization": f"Bearer {self.key.value}"} if self.key else {}
        return aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0, ssl=self.tls, keepalive_timeout=KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S),
        )

    def unreachable(self, failure: RequestFailed) -> Unreachable:
        """The same failure, told to a person: its cause and the way out."""
        cause = self._cause(failure) or f"{self.url} cannot be used"
        return Unreachable(f"{cause}\n  ({failure})")

    def bars(self, failure: RequestFailed) -> bool:
        """Whether ``failure`` means that nothing can be asked at all, not that one request went wrong."""
        return self._cause(failure) is not None

    def _cause(self, failure: RequestFailed) -> str | None:
        host = urlsplit(self.url).netloc
        if failure.kind in _KEY_REFUSED:
            return self._key_refused()
        if failure.kind == "tls":
            return self._distrust(host)
        if failure.kind in _NOT_READY:
            return (
                f"{self.url} is up but not ready: it is starting, draining or overloaded; try again shortly"
            )
        ways = {
            "refused": f"nothing listens at {host}: is the service running, and is the port right?",
            "dns": f"the name in {self.url} is not known: check its spelling, or use an address",
            "timeout": f"{host} does not answer: is it up, and does a firewall let you in?",
            "http_404": f"{self.url} does not know this path: is the URL right?",
        }
        return ways.get(failure.kind)

    def _key_refused(self) -> str:
        if self.key is None:
            return f"{self.url} wants a key: give it with --api-key-file FILE or in {KEY_VARIABLE}"
        return f"the key in {self.key.source} was refused by {self.url}: is it this server's, and valid?"

    def _distrust(self, host: str) -> str:
        if self.ca_file is None:
            return (
                f"the TLS certificate of {host} is not trusted here: give its authority with --ca-file FILE\n"
                "  (a private server writes its own, and tells where at the end of its installation)"
            )
        return (
            f"the TLS certificate of {host} does not fit --ca-file {self.ca_file}: wrong file, name or clock"
        )


def request_failed(error: Exception) -> RequestFailed:
    """Name the failure behind an exception of aiohttp or the operating system."""
    return RequestFailed(_kind(error), str(error) or type(error).__name__)


def _kind(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.WSServerHandshakeError | aiohttp.ClientResponseError):
        return f"http_{error.status}"
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(
        getattr(error, "os_error", None), socket.gaierror
    ):
        return "dns"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "refused" if isinstance(error.os_error, ConnectionRefusedError) else "connect"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "cut"
    return "disconnected"


# What a request over aiohttp may raise when the other side or the network is at fault.
NETWORK_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


def environment() -> Mapping[str, str]:
    """The process environment, named here so that tests can give their own."""
    return os.environ
