"""What comes out of a running engine: real speech, at any rate, for any text."""

from __future__ import annotations

import time

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships no types
from riva_tts import riva_tts_pb2 as riva
from riva_tts.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from tests.integration.engine_process import (
    DEADLINE_S,
    VOICE,
    VOICE_RATE_HZ,
    Engine,
    details,
    speak,
    speech_stub,
)

SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody knows why."
# A window of 64 KiB, 1.5 s of audio, that does not grow; gRPC's own grows to 4 MiB, 95 s.
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]


def samples(pcm: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2") / 32768


def joined(responses: list[riva.SynthesizeSpeechResponse]) -> bytes:
    return b"".join(response.audio for response in responses)


def assert_speech(pcm: bytes, text: str, rate_hz: int) -> None:
    """As long as a person takes for `text`, as loud as speech, not clipped, with speech's spectrum."""
    audio = samples(pcm)
    assert len(text) / 30 < len(audio) / rate_hz < len(text) / 8 + 0.5
    assert 0.02 < np.sqrt(np.mean(audio**2)) < 0.4
    assert 0.1 < np.max(np.abs(audio)) < 1
    power = np.abs(np.fft.rfft(audio)) ** 2
    hz = np.fft.rfftfreq(len(audio), 1 / rate_hz)
    assert power[(hz > 80) & (hz < 4000)].sum() > 0.8 * power.sum()  # white noise has a third there
    frames = audio[: len(audio) // 441 * 441].reshape(-1, 441)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    assert np.percentile(loudness, 95) > 5 * np.percentile(loudness, 5)  # syllables and pauses


@pytest.mark.parametrize("rate_hz", [0, 8000, 16000, 22050, 24000, 44100, 48000])
def test_speech_at_any_rate(stub: RivaSpeechSynthesisStub, rate_hz: int) -> None:
    answer = stub.Synthesize(
        riva.SynthesizeSpeechRequest(text=SENTENCE, sample_rate_hz=rate_hz), timeout=DEADLINE_S
    )
    rate_hz = rate_hz or VOICE_RATE_HZ
    assert_speech(answer.audio, SENTENCE, rate_hz)
    spoken_s = sum(answer.meta.predicted_durations)
    assert len(answer.audio) / 2 / rate_hz == pytest.approx(spoken_s, abs=0.001)
    hz = np.fft.rfftfreq(len(answer.audio) // 2, 1 / rate_hz)
    power = np.abs(np.fft.rfft(samples(answer.audio))) ** 2
    assert power[hz > VOICE_RATE_HZ / 2 + 500].sum() < 1e-4 * power.sum()  # no images above the voice's band


def test_a_stream_speaks_sentence_by_sentence(stub: RivaSpeechSynthesisStub) -> None:
    texts = ["Hello there. How are you today? ", "I am fine.\n"]
    requests = [
        riva.SynthesizeSpeechRequest(text=text, id=riva.RequestId(value=str(number)))
        for number, text in enumerate(texts)
    ]
    responses = list(stub.SynthesizeOnline(iter(requests), timeout=DEADLINE_S))
    heads = [response for response in responses if response.meta.text]
    assert [head.meta.text for head in heads] == ["Hello there. ", "How are you today? ", "I am fine.\n"]
    assert [head.meta.processed_text for head in heads] == [
        "Hello there.",
        "How are you today?",
        "I am fine.",
    ]
    assert [head.id.value for head in heads] == ["0", "0", "1"]
    assert all(response.id.value in ("0", "1") for response in responses)
    assert max(len(response.audio) for response in responses) < 0.9 * VOICE_RATE_HZ * 2
    assert_speech(joined(responses), "".join(texts), VOICE_RATE_HZ)


def test_a_segments_durations_are_its_audio(stub: RivaSpeechSynthesisStub) -> None:
    responses = speak(stub, ["One two three. Four five six."])
    starts = [index for index, response in enumerate(responses) if response.meta.text]
    for start, end in zip(starts, [*starts[1:], len(responses)], strict=True):
        seconds = sum(responses[start].meta.predicted_durations)
        assert len(joined(responses[start:end])) / 2 / VOICE_RATE_HZ == pytest.approx(seconds, abs=0.001)


def test_length_scale_slows_speech(stub: RivaSpeechSynthesisStub) -> None:
    short, long = (
        len(joined(speak(stub, [SENTENCE], custom_configuration={"length_scale": scale})))
        for scale in ("0.5", "2.0")
    )
    assert long > 2.5 * short


def test_no_noise_is_the_same_every_time(stub: RivaSpeechSynthesisStub) -> None:
    quiet = {"noise_scale": "0", "noise_w_scale": "0"}
    first, second = (joined(speak(stub, [SENTENCE], custom_configuration=quiet)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("text", ["", " ", "...", "\n\n", "\0", "（）", "\x01\x02\x7f", "[[", "\u200b"])
def test_nothing_to_say_is_no_error(stub: RivaSpeechSynthesisStub, text: str) -> None:
    responses = speak(stub, [text])
    assert joined(responses) == b""
    assert "".join(response.meta.text for response in responses) == text
    assert stub.Synthesize(riva.SynthesizeSpeechRequest(text=text), timeout=DEADLINE_S).audio == b""


@pytest.mark.parametrize(
    "text", ["😀", "a\0b", "Hello 世界", "x" * 450, "9" * 60, "<speak>hi</speak>", "\ufeffhi"]
)
def test_odd_texts_are_spoken(stub: RivaSpeechSynthesisStub, text: str) -> None:
    responses = speak(stub, [text])
    assert len(joined(responses)) > VOICE_RATE_HZ // 5
    assert "".join(response.meta.text for response in responses) == text


def test_the_longest_text_streams(engine: Engine, stub: RivaSpeechSynthesisStub) -> None:
    """100 kB in one request: the first audio comes, and cancel ends the rest."""
    text = ("Once upon a time there was a fox. " * 3000)[:100_000]
    call = stub.SynthesizeOnline(iter([riva.SynthesizeSpeechRequest(text=text)]), timeout=DEADLINE_S)
    assert next(iter(call)).audio
    call.cancel()


def test_cancel_stops_the_work(engine: Engine, stub: RivaSpeechSynthesisStub) -> None:
    windows = f'tts_engine_windows_total{{voice="{VOICE}"}}'
    cancelled = 'tts_engine_requests_total{code="CANCELLED",rpc="SynthesizeOnline"}'
    before = wait_idle(engine)
    text = "This is one sentence of many, long enough to take a while. " * 1000
    call = stub.SynthesizeOnline(iter([riva.SynthesizeSpeechRequest(text=text)]), timeout=DEADLINE_S)
    assert next(iter(call)).audio
    call.cancel()
    after = wait_idle(engine)
    assert after[cancelled] == before.get(cancelled, 0) + 1
    assert after[windows] - before.get(windows, 0) < 1000  # of 7000: what was begun before the cancel came
    # What was begun when the cancel came may still have run when the engine was seen idle, and no more.
    speak(stub, ["Hello."])
    between = engine.scrape()[windows]
    speak(stub, ["Hello."])
    assert between - after[windows] <= engine.scrape()[windows] - between + 1


def wait_idle(engine: Engine) -> dict[str, float]:
    """Wait until no text is in work, and scrape."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        scraped = engine.scrape()
        if not scraped["tts_engine_streams"] and not any(
            value for name, value in scraped.items() if name.startswith("tts_engine_in_flight")
        ):
            return scraped
        assert time.monotonic() < deadline, scraped
        time.sleep(0.02)


def test_a_reader_who_stops_is_not_synthesized_for(engine: Engine, stub: RivaSpeechSynthesisStub) -> None:
    """What waits for a client waits in gRPC's window, not in the engine."""
    audio = f'tts_engine_audio_seconds_total{{voice="{VOICE}"}}'
    text = "This is one sentence of many, long enough to take a while. " * 500
    with speech_stub(engine, SMALL_WINDOW) as stalled:
        call = stalled.SynthesizeOnline(iter([riva.SynthesizeSpeechRequest(text=text)]), timeout=DEADLINE_S)
        assert next(iter(call)).audio
        begun = engine.scrape().get(audio, 0)
        # Others are served on. A stream that did not stall would take turns with them and gain as much audio.
        others_s = sum(len(joined(speak(stub, [SENTENCE]))) / 2 / VOICE_RATE_HZ for _ in range(20))
        assert engine.scrape()[audio] - begun - others_s < 0.4 * others_s
        call.cancel()


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"voice_name": "zoe"}, grpc.StatusCode.NOT_FOUND, ["'zoe'", VOICE]),
        ({"language_code": "de-DE"}, grpc.StatusCode.INVALID_ARGUMENT, ["language_code", "de-DE", "en-US"]),
        (
            {"sample_rate_hz": 7000},
            grpc.StatusCode.INVALID_ARGUMENT,
            ["sample_rate_hz", "7000", "8000 to 48000"],
        ),
        ({"encoding": riva.FLAC}, grpc.StatusCode.INVALID_ARGUMENT, ["encoding", "FLAC", "LINEAR_PCM"]),
        (
            {"custom_configuration": {"length_scale": "-1"}},
            grpc.StatusCode.INVALID_ARGUMENT,
            ["length_scale", "'-1'", "0.25 to 4.0"],
        ),
        (
            {"custom_configuration": {"speaker": "7"}},
            grpc.StatusCode.INVALID_ARGUMENT,
            ["speaker", "'7'", "default"],
        ),
        (
            {"custom_configuration": {"seed": "-1"}},
            grpc.StatusCode.INVALID_ARGUMENT,
            ["'seed'", "'-1'", "whole number"],
        ),
        (
            {"custom_configuration": {"alignment": "line"}},
            grpc.StatusCode.INVALID_ARGUMENT,
            ["alignment", "'line'", "none, word, char"],
        ),
        (
            {"custom_configuration": {"sample_format": "f32"}, "encoding": riva.ALAW},
            grpc.StatusCode.INVALID_ARGUMENT,
            ["sample_format", "LINEAR_PCM"],
        ),
        ({"custom_configuration": {"pitch": "1"}}, grpc.StatusCode.INVALID_ARGUMENT, ["'pitch'", "seed"]),
        ({"text": "x" * 100_001}, grpc.StatusCode.INVALID_ARGUMENT, ["text", "100001", "100000"]),
        ({"text": "Long. " * 3000}, grpc.StatusCode.INVALID_ARGUMENT, ["one message", "SynthesizeOnline"]),
    ],
)
def test_bad_requests_are_told_why(
    stub: RivaSpeechSynthesisStub, fields: dict[str, object], code: grpc.StatusCode, words: list[str]
) -> None:
    request = riva.SynthesizeSpeechRequest(**{"text": "Hello.", **fields})  # type: ignore[arg-type]  # by name
    with pytest.raises(grpc.RpcError) as failed:
        stub.Synthesize(request, timeout=DEADLINE_S)
    assert failed.value.code() is code
    assert all(word in details(failed.value) for word in words), details(failed.value)


def test_voices_are_listed(stub: RivaSpeechSynthesisStub) -> None:
    (model,) = stub.GetRivaSynthesisConfig(riva.RivaSynthesisConfigRequest()).model_config
    assert model.model_name == VOICE
    assert dict(model.parameters) == {
        "voice_name": VOICE,
        "language_code": "en-US",
        "sample_rate": "22050",
        "subvoices": "default:0",
    }
    with pytest.raises(grpc.RpcError) as failed:
        stub.GetRivaSynthesisConfig(riva.RivaSynthesisConfigRequest(model_name="zoe"))
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", "nvidia.riva.tts.RivaSpeechSynthesis"])
def test_health(engine: Engine, service: str) -> None:
    with grpc.insecure_channel(engine.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_metrics(engine: Engine, stub: RivaSpeechSynthesisStub) -> None:
    before = wait_idle(engine)
    audio = joined(speak(stub, ["Hello there. Good bye."]))
    after = wait_idle(engine)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    voice = f'{{voice="{VOICE}"}}'
    assert grown('tts_engine_requests_total{code="OK",rpc="SynthesizeOnline"}') == 1
    assert grown(f"tts_engine_characters_total{voice}") == len("Hello there. Good bye.")
    assert grown(f"tts_engine_audio_seconds_total{voice}") == pytest.approx(len(audio) / 2 / VOICE_RATE_HZ)
    assert grown(f"tts_engine_windows_total{voice}") >= 2
    assert grown(f"tts_engine_rtf_count{voice}") == 2
    assert grown('tts_engine_first_audio_seconds_count{rpc="SynthesizeOnline"}') == 1
    assert after["tts_engine_voices_loaded"] == 1
    assert after["tts_engine_voices_known"] == 1
    assert after["tts_engine_voices_refused"] == after["tts_engine_voices_whole"] == 0
    assert after["tts_engine_voices_bytes"] > 50e6
    assert after["tts_engine_capacity"] > 0
    assert after["tts_engine_deadlines_missed_total"] >= 0
    assert after["tts_engine_jobs_queued"] == 0
    assert after["process_resident_memory_bytes"] > 0


def test_the_log_has_a_line_per_rpc_and_never_the_text(engine: Engine, stub: RivaSpeechSynthesisStub) -> None:
    speak(stub, ["Xylophone secrets."])
    wait_idle(engine)
    lines = [line for line in engine.log if "event=rpc rpc=SynthesizeOnline code=OK characters=18 " in line]
    assert lines
    assert not any("Xylophone" in line or "Traceback" in line for line in engine.log)
