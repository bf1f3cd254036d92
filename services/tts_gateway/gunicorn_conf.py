"""gunicorn's settings for tts-gateway: ``gunicorn -c python:tts_gateway.gunicorn_conf``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tts_gateway import logs, settings
from tts_gateway.settings import SettingsError

try:
    _settings = settings.load(os.environ)
except SettingsError as error:
    sys.exit(f"tts-gateway: {error}")

wsgi_app = "tts_gateway.app:create_app()"
worker_class = "tts_gateway.worker.GatewayWorker"
# Sessions and their limits live in the worker's memory: with two, each would know half of them.
workers = 1
bind = f"{_settings.host}:{_settings.port}"
# Silent for this long, a worker is killed; it reports during the drain too.
timeout = 30
graceful_timeout = int(_settings.drain_s) + 10
control_socket_disable = True
logconfig_dict: dict[str, Any] = logs.config(_settings.log_level)


def on_starting(server: object) -> None:
    """A previous master's metric files would be counted again."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory is None:
        return
    Path(directory).mkdir(parents=True, exist_ok=True)
    for leftover in Path(directory).glob("*.db"):
        leftover.unlink()


def child_exit(server: object, worker: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        # Not at the top: the master must not open metric files of its own.
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
