"""The gunicorn worker: uvicorn-worker's, with our server and our options, which it would not pass on."""

from __future__ import annotations

import logging
import sys
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

from tts_gateway.server import OPTIONS, Server, harden


class GatewayWorker(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = OPTIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn-worker gives it gunicorn's level, and then every connection is two lines.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = Server(config=self.config)
        self._install_sigquit_handler()
        for listener in self.sockets:
            harden(listener.sock)
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
