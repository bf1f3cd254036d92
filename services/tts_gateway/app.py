"""The ASGI application: the routes around the gateway. No protocol and no state live here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response, WebSocket
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.websockets import WebSocketDisconnect

from tts_gateway import metrics, settings
from tts_gateway.connection import Connection
from tts_gateway.errors import FatalError, ShuttingDown
from tts_gateway.gateway import Gateway
from tts_gateway.messages import Error, serialize
from tts_gateway.settings import Settings

ANONYMOUS = "anonymous"
# nginx sets the name of the key's owner; anything longer is not from there.
MAX_CONSUMER_CHARS = 128
RESTART_RETRY_MS = 1000


def create_app(configuration: Settings | None = None) -> FastAPI:
    """For gunicorn, without an argument: settings from the environment. Raises SettingsError."""
    configuration = configuration or settings.load(os.environ)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.gateway = Gateway(configuration)
        yield
        await app.state.gateway.close()

    app = FastAPI(title="tts-gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_api_route("/healthz", healthz)
    app.add_api_route("/metrics", get_metrics)

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        return await _readiness(app.state.gateway)

    @app.get("/v1/voices")
    async def voices() -> JSONResponse:
        return await _voices(app.state.gateway)

    @app.websocket("/tts")
    async def tts(websocket: WebSocket) -> None:
        await _serve(websocket, app.state.gateway)

    return app


async def healthz() -> dict[str, str]:
    return {"status": "ok"}


async def get_metrics() -> Response:
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


async def _readiness(gateway: Gateway) -> JSONResponse:
    if gateway.draining:
        return _not_ready(ShuttingDown.code, "The server is going away.")
    try:
        voices = await gateway.engine.voices()
    except FatalError as error:
        return _not_ready(error.code, error.message)
    if not voices:
        return _not_ready("no_voice", "The speech engine has no voice loaded.")
    return JSONResponse({"status": "ready", "engine": gateway.engine.name, "voices": len(voices)})


async def _voices(gateway: Gateway) -> JSONResponse:
    try:
        voices = await gateway.engine.voices()
    except FatalError as error:
        return _not_ready(error.code, error.message)
    return JSONResponse(
        {
            "voices": [
                {"name": voice.name, "language": voice.language, "sample_rate": voice.sample_rate}
                for voice in voices
            ]
        }
    )


def _not_ready(code: str, message: str) -> JSONResponse:
    body: dict[str, Any] = {"status": "not ready", "code": code, "message": message}
    return JSONResponse(body, status_code=503, headers={"Retry-After": "1"})


async def _serve(websocket: WebSocket, gateway: Gateway) -> None:
    await websocket.accept()
    consumer = websocket.headers.get("x-consumer", ANONYMOUS)[:MAX_CONSUMER_CHARS]
    try:
        if gateway.draining:
            raise ShuttingDown("This server is going away: connect again.", retry_after_ms=RESTART_RETRY_MS)
        with gateway.admission.slot(consumer):
            connection = Connection(websocket, consumer, gateway.engine, gateway.settings)
            gateway.enter(connection)
            try:
                await connection.run()
            finally:
                gateway.leave(connection)
    except FatalError as error:
        await _refuse(websocket, error)


async def _refuse(websocket: WebSocket, error: FatalError) -> None:
    metrics.ERRORS.labels(error.code).inc()
    refusal = Error(code=error.code, message=error.message, fatal=True, retry_after_ms=error.retry_after_ms)
    try:
        await websocket.send_text(serialize(refusal))
        await websocket.close(error.close_code)
    except WebSocketDisconnect:
        return
