"""More listeners than the host can serve: who is let in hears everything in time, the others are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests.integration.engine_process import DEADLINE_S, VOICE_RATE_HZ, running_engine, speech_stub

SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody ever knew the reason for it. "
LISTEN_S = 12.0
# What a player keeps before it starts; the engine plans for the host as it was, not as it will be.
START_BUFFER_S = 0.2
# gRPC's own window takes 95 s of audio from the engine for a client that plays one second per second.
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]


@dataclass
class Listener:
    """Plays one stream in real time for LISTEN_S."""

    stub: RivaSpeechSynthesisStub
    retry_after_ms: int | None = None
    first_audio_s: float = 0.0
    stalled_s: float = 0.0
    heard_s: float = 0.0
    failure: str = ""
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        begin = time.monotonic()
        call = self.stub.SynthesizeOnline(
            iter([riva.SynthesizeSpeechRequest(text=SENTENCE * 20)]), timeout=DEADLINE_S
        )
        plays_until = 0.0
        try:
            for response in call:
                now = time.monotonic()
                audio_s = len(response.audio) / 2 / VOICE_RATE_HZ
                if not plays_until:
                    self.first_audio_s = now - begin
                    plays_until = now + START_BUFFER_S
                self.stalled_s += max(0.0, now - plays_until)
                plays_until = max(plays_until, now) + audio_s
                self.heard_s += audio_s
                time.sleep(max(0.0, plays_until - 1.0 - now))
                if now - begin > LISTEN_S:
                    break
            call.cancel()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                self.failure = f"{error.code()} {error.details()}"
            hints = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
            self.retry_after_ms = int(hints.get("retry-after-ms", -1))


def test_twice_the_capacity() -> None:
    with running_engine() as engine, speech_stub(engine, SMALL_WINDOW) as stub:
        capacity = engine.scrape()["tts_engine_capacity"]
        listeners = []
        for _ in range(round(2 * capacity)):
            listeners.append(Listener(stub))
            time.sleep(0.02)
        for listener in listeners:
            listener.thread.join()
        assert not [listener.failure for listener in listeners if listener.failure]
        served = [listener for listener in listeners if listener.retry_after_ms is None]
        refused = [listener for listener in listeners if listener.retry_after_ms is not None]
        report = [(round(s.first_audio_s, 2), round(s.stalled_s, 2), round(s.heard_s, 1)) for s in served]
        assert 0.3 * capacity < len(served) < 1.1 * capacity, (capacity, report)
        assert all(100 <= (listener.retry_after_ms or 0) <= 10_000 for listener in refused)
        assert all(listener.heard_s > LISTEN_S - 2 for listener in served), report
        stalled = sorted(listener.stalled_s for listener in served)
        assert stalled[len(stalled) // 2] < 0.1, report  # most never stall, whatever else the machine does
        assert stalled[-1] < 0.1 * LISTEN_S, report
        # The host is not hurt: the next one is served at once.
        begin = time.monotonic()
        assert stub.Synthesize(riva.SynthesizeSpeechRequest(text="Hello."), timeout=DEADLINE_S).audio
        assert time.monotonic() - begin < 10


def first_refusal(call: Iterator[riva.SynthesizeSpeechResponse]) -> str:
    """'' where the stream is served."""
    try:
        next(call)
    except grpc.RpcError as error:
        return f"{error.code()}: {error.details()}"
    return ""


def test_a_consumer_who_takes_all_leaves_room_for_another() -> None:
    with running_engine() as engine, speech_stub(engine, SMALL_WINDOW) as stub:
        request = riva.SynthesizeSpeechRequest(text=SENTENCE * 100)
        greedy = [
            stub.SynthesizeOnline(iter([request]), metadata=[("x-consumer", "greedy")], timeout=DEADLINE_S)
            for _ in range(round(2 * engine.scrape()["tts_engine_capacity"]))
        ]
        refusals = [refusal for call in greedy if (refusal := first_refusal(call))]
        assert 0 < len(refusals) < len(greedy)
        assert all("of this consumer" in refusal for refusal in refusals)
        modest = stub.SynthesizeOnline(
            iter([riva.SynthesizeSpeechRequest(text="Hello, it is me.")]),
            metadata=[("x-consumer", "modest")],
            timeout=DEADLINE_S,
        )
        assert sum(len(response.audio) for response in modest) > VOICE_RATE_HZ
        for call in greedy:
            call.cancel()
