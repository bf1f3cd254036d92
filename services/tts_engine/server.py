"""The process: bind, serve, drain, end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships no types
from grpc_health.v1.health import aio as health  # type: ignore[import-untyped]
from prometheus_client import start_http_server
from riva_tts import riva_tts_pb2, riva_tts_pb2_grpc

from tts_engine import logs, systemd
from tts_engine.errors import StartError
from tts_engine.library import Library
from tts_engine.metrics import Metrics
from tts_engine.model_cache import ModelCache
from tts_engine.runtime import Runtime
from tts_engine.service import SpeechService
from tts_engine.settings import Address, Settings, TcpAddress, UnixAddress
from tts_engine.workshop import Workshop

SERVICE_NAME = riva_tts_pb2.DESCRIPTOR.services_by_name["RivaSpeechSynthesis"].full_name
# Owner and group: the gateway reaches the engine by a group of its own, nobody else does.
SOCKET_UMASK = 0o117
# How long a socket file's owner may take to answer before it counts as dead.
PROBE_TIMEOUT_S = 1.0

# Without this two engines share one TCP port, and each client reaches either by chance.
_SERVER_OPTIONS = [("grpc.so_reuseport", 0)]


def run(settings: Settings) -> None:
    """Load the voices and serve until SIGTERM or SIGINT. Raises StartError."""
    runtime = Runtime(settings.precision, settings.provider)
    runtime.check()
    asyncio.run(_serve(settings, ModelCache(settings.cache, runtime), Metrics()))


async def _serve(settings: Settings, cache: ModelCache, metrics: Metrics) -> None:
    library = Library(
        settings.voices,
        default=settings.default_voice,
        preload=settings.preload,
        memory_bytes=settings.voices_memory_bytes,
        cache=cache,
        on_change=metrics.show_voices,
    )
    await library.open()
    workshop = Workshop(settings.threads, settings.max_streams, metrics)
    try:
        await workshop.measure(next(iter(library.loaded.values())))
        await _serve_voices(settings, library, workshop)
    finally:
        workshop.close()
    logs.info("stopped")


async def _serve_voices(settings: Settings, library: Library, workshop: Workshop) -> None:
    service = SpeechService(library, workshop)
    server = grpc.aio.server(options=_SERVER_OPTIONS)
    riva_tts_pb2_grpc.add_RivaSpeechSynthesisServicer_to_server(service, server)  # type: ignore[no-untyped-call]  # generated
    liveness = await _add_health(server)
    address = _bind(server, settings.listen)
    watching = asyncio.create_task(library.watch())
    with _metrics_endpoint(settings.metrics, workshop.metrics) as metrics_address:
        await server.start()
        stop = _stop_signal()
        systemd.notify("READY=1")
        logs.info(
            "ready",
            listen=address,
            metrics=metrics_address or "off",
            voices=",".join(library.known),
            default_voice=library.default,
            threads=settings.threads,
            capacity=workshop.admission.capacity,
        )
        await stop.wait()
        systemd.notify("STOPPING=1")
        logs.info("draining", grace_s=settings.grace_s)
        watching.cancel()
        await liveness.enter_graceful_shutdown()
        service.drain()
        await server.stop(settings.grace_s)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _add_health(server: grpc.aio.Server) -> health.HealthServicer:
    """The standard health service: SERVING for the whole server and for the speech service."""
    servicer = health.HealthServicer()
    await servicer.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer


@contextmanager
def _metrics_endpoint(address: TcpAddress | None, metrics: Metrics) -> Iterator[TcpAddress | None]:
    """Serve the metrics from a thread of their own; yields where, with the real port."""
    if address is None:
        yield None
        return
    try:
        http, thread = start_http_server(address.port, address.host, metrics.registry)
    except OSError as error:
        raise _bind_error("metrics", "--metrics (TTS_ENGINE_METRICS)", address, error) from None
    try:
        yield TcpAddress(address.host, http.server_port)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _bind(server: grpc.aio.Server, address: Address) -> Address:
    """Bind, and tell where (port 0 took a free one). Raises StartError."""
    if isinstance(address, UnixAddress):
        _clear_stale_socket(address)
    previous = os.umask(SOCKET_UMASK)
    try:
        port = server.add_insecure_port(str(address))
    except RuntimeError:
        # gRPC's message is a C++ trace; the system's own word for it is asked for again.
        raise _bind_error("gRPC", "--listen (TTS_ENGINE_LISTEN)", address, _system_error(address)) from None
    finally:
        os.umask(previous)
    return TcpAddress(address.host, port) if isinstance(address, TcpAddress) else address


def _clear_stale_socket(address: UnixAddress) -> None:
    """Remove what a killed engine left; a socket that answers, or a file that is none, is somebody else's."""
    try:
        mode = address.path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _bind_error("gRPC", "--listen (TTS_ENGINE_LISTEN)", address, error) from None
    if not stat.S_ISSOCK(mode):
        raise StartError(f"cannot serve gRPC on {address}: there is a file that is no socket. Remove it")
    if _answers(address.path):
        raise StartError(
            f"cannot serve gRPC on {address}: another process listens there. "
            "Stop it, or choose another address with --listen (TTS_ENGINE_LISTEN)"
        )
    address.path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # a full backlog, or not ours to open: in both cases not ours to remove
        return True


def _system_error(address: Address) -> OSError:
    """Why the system refuses to bind `address`."""
    try:
        if isinstance(address, UnixAddress):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(address.path))
                address.path.unlink()
        else:
            family, *_, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.bind(target)
    except OSError as error:
        return error
    return OSError(errno.EADDRNOTAVAIL, "gRPC could not bind it")


def _bind_error(what: str, setting: str, address: Address, error: OSError) -> StartError:
    ways_out = {
        errno.EADDRINUSE: "Stop what listens there",
        errno.ENOENT: "Create its directory",
        errno.EACCES: "Give this user write access there",
    }
    way_out = ways_out.get(error.errno or 0, "Correct it")
    return StartError(
        f"cannot serve {what} on {address}: {error.strerror}. {way_out}, or choose another with {setting}"
    )
