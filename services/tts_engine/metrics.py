"""What Prometheus scrapes. Every name of the engine begins with `tts_engine_`; times are seconds."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

# One job: a segment of up to 200 characters, 10 ms to a few seconds on a busy machine.
SYNTHESIS_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
# Time to first audio: below 200 ms a conversation feels immediate, beyond 2 s it is broken.
FIRST_AUDIO_BUCKETS_S = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0)
# Seconds of work per second of audio: 1.0 and above cannot keep up with playback.
RTF_BUCKETS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)


class Metrics:
    """The engine's metrics in a registry of their own, so that two engines in one process do not collide."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "tts_engine_requests", "RPCs ended, by gRPC status code", ["rpc", "code"], registry=registry
        )
        self.in_flight = Gauge("tts_engine_in_flight", "RPCs open now", ["rpc"], registry=registry)
        self.pending = Gauge(
            "tts_engine_pending_texts", "Texts admitted and not yet wholly spoken", registry=registry
        )
        self.jobs_queued = Gauge(
            "tts_engine_jobs_queued", "Synthesis jobs waiting for a thread", registry=registry
        )
        self.characters = Counter(
            "tts_engine_characters", "Characters synthesized, in code points", ["voice"], registry=registry
        )
        self.audio_s = Counter(
            "tts_engine_audio_seconds", "Seconds of audio synthesized", ["voice"], registry=registry
        )
        self.synthesis_s = Histogram(
            "tts_engine_synthesis_seconds",
            "Wall-clock time of one synthesis job, without its wait for a thread",
            ["voice"],
            buckets=SYNTHESIS_BUCKETS_S,
            registry=registry,
        )
        self.rtf = Histogram(
            "tts_engine_rtf",
            "Real-time factor of one synthesis job: seconds of work per second of audio",
            ["voice"],
            buckets=RTF_BUCKETS,
            registry=registry,
        )
        self.first_audio_s = Histogram(
            "tts_engine_first_audio_seconds",
            "From a text's arrival to its first audio handed to gRPC",
            ["rpc"],
            buckets=FIRST_AUDIO_BUCKETS_S,
            registry=registry,
        )
        self.voices_loaded = Gauge("tts_engine_voices_loaded", "Voices that can speak", registry=registry)
        self.voices_refused = Gauge(
            "tts_engine_voices_refused", "Voices found in the directory and refused", registry=registry
        )
