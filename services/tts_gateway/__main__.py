"""tts-gateway in the foreground: one process, uvicorn, no gunicorn."""

from __future__ import annotations

import asyncio
import logging.config
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import uvicorn

from tts_gateway import logs, settings
from tts_gateway.app import create_app
from tts_gateway.server import OPTIONS, Server, harden
from tts_gateway.settings import Settings, SettingsError

EXIT_USAGE = 2
BACKLOG = 2048


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        configuration = settings.load(os.environ, settings.parse_flags(arguments))
        listener = _listen(configuration)
    except SettingsError as error:
        print(f"tts-gateway: {error}", file=sys.stderr)
        return EXIT_USAGE
    logging.config.dictConfig(logs.config(configuration.log_level))
    print(_greeting(configuration, listener), flush=True)
    server = Server(uvicorn.Config(create_app(configuration), **OPTIONS))
    with suppress(KeyboardInterrupt):
        asyncio.run(server.serve(sockets=[listener]))
    return 0 if server.started else 1


def _listen(configuration: Settings) -> socket.socket:
    address = f"{configuration.host}:{configuration.port}"
    try:
        family = socket.getaddrinfo(configuration.host, configuration.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(
            (configuration.host, configuration.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {address}: {error.strerror}; choose another --host or --port"
        ) from None
    harden(listener)
    return listener


def _greeting(configuration: Settings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    engine = (
        configuration.engine if configuration.engine == "dummy" else f"piper at {configuration.engine_target}"
    )
    return f"tts-gateway: ws://{place}/tts  http://{place}/readyz  http://{place}/metrics  (engine: {engine})"


if __name__ == "__main__":
    sys.exit(main())
