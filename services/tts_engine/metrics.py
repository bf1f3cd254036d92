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

from tts_engine.library import Library

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
        for rpc in ("Synthesize", "SynthesizeOnline"):
            self.requests.labels(rpc, "RESOURCE_EXHAUSTED")  # there before the first, for who watches it
        self.in_flight = Gauge("tts_engine_in_flight", "RPCs open now", ["rpc"], registry=registry)
        self.streams = Gauge("tts_engine_streams", "Streams admitted and not yet ended", registry=registry)
        self.capacity = Gauge(
            "tts_engine_capacity",
            "Seconds of audio that this host makes per second, as measured lately",
            registry=registry,
        )
        self.jobs_queued = Gauge(
            "tts_engine_jobs_queued", "Encoder runs and windows waiting for a thread", registry=registry
        )
        self.windows = Counter("tts_engine_windows", "Windows synthesized", ["voice"], registry=registry)
        self.deadlines_missed = Counter(
            "tts_engine_deadlines_missed",
            "Windows that came after a listener in real time had played all audio before them",
            registry=registry,
        )
        self.characters = Counter(
            "tts_engine_characters", "Characters synthesized, in code points", ["voice"], registry=registry
        )
        self.audio_s = Counter(
            "tts_engine_audio_seconds", "Seconds of audio synthesized", ["voice"], registry=registry
        )
        self.rtf = Histogram(
            "tts_engine_rtf",
            "Real-time factor of one utterance: seconds of a thread per second of audio",
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
        self.voices_loaded = Gauge("tts_engine_voices_loaded", "Voices in memory", registry=registry)
        self.voices_known = Gauge(
            "tts_engine_voices_known", "Voices that can be asked for", registry=registry
        )
        self.voices_whole = Gauge(
            "tts_engine_voices_whole", "Voices in memory whose graph could not be cut", registry=registry
        )
        self.voices_bytes = Gauge(
            "tts_engine_voices_bytes", "Memory that the voices take, as estimated", registry=registry
        )
        self.voices_refused = Gauge(
            "tts_engine_voices_refused", "Voices found in the directory and refused", registry=registry
        )

    def show_voices(self, library: Library) -> None:
        for name in library.known:  # so that each is there, with 0, before it is first spoken
            for counter in (self.windows, self.audio_s, self.characters):
                counter.labels(name)
        self.voices_known.set(len(library.known))
        self.voices_refused.set(len(library.refused))
        self.voices_loaded.set(len(library.loaded))
        self.voices_whole.set(sum(not voice.model.is_windowed for voice in library.loaded.values()))
        self.voices_bytes.set(library.loaded_bytes)
