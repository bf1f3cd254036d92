"""Every metric of the gateway. Labels never carry consumers, voices or text: their number is bounded here."""

from __future__ import annotations

import os

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

# The "_created" series double the exposition and say nothing here.
disable_created_metrics()  # type: ignore[no-untyped-call]

# From "as soon as the ear can tell" to "the user has given up".
FIRST_AUDIO_BUCKETS_S = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    10.0,
)
# The protocol promises 50 ms.
CANCEL_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)

SESSIONS_ACTIVE = Gauge("tts_gateway_sessions_active", "Sessions open now.", multiprocess_mode="livesum")
SESSIONS = Counter("tts_gateway_sessions", "Sessions started.")
FIRST_AUDIO = Histogram(
    "tts_gateway_first_audio_seconds",
    "From a segment's text complete to its first frame handed to the socket, after silence.",
    buckets=FIRST_AUDIO_BUCKETS_S,
)
SEGMENTS = Counter("tts_gateway_segments", "Segments of text given to the engine.")
CHARACTERS = Counter("tts_gateway_characters", "Characters of text given to the engine.")
FRAMES = Counter("tts_gateway_frames", "Audio frames sent.")
AUDIO_BYTES = Counter("tts_gateway_audio_bytes", "Audio bytes sent.")
AUDIO_SECONDS = Counter("tts_gateway_audio_seconds", "Seconds of audio sent.")
ERRORS = Counter("tts_gateway_errors", "Errors told to clients.", ["code"])
CANCELS = Counter("tts_gateway_cancels", "Cancels taken.")
CANCEL = Histogram(
    "tts_gateway_cancel_seconds", "From a cancel read to 'cancelled' sent.", buckets=CANCEL_BUCKETS_S
)
ENGINE_REQUESTS = Counter("tts_gateway_engine_requests", "Requests sent to the engine.")
ENGINE_FAILURES = Counter("tts_gateway_engine_failures", "Engine requests that failed.", ["status"])


def exposition() -> bytes:
    """In Prometheus' text format; over all workers where PROMETHEUS_MULTIPROC_DIR is set."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
