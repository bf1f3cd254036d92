"""The engine as a process: how it starts, refuses, is full, drains and ends."""

from __future__ import annotations

import os
import queue
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships no types
from riva_tts import riva_tts_pb2 as riva

from tests import voices
from tests.integration.engine_process import (
    DEADLINE_S,
    VOICE,
    VOICES_DIR,
    details,
    engine_command,
    running_engine,
    speak,
    speech_stub,
)

LONG_TEXT = "This is one sentence of many, long enough to take a while. " * 200


def refused(*arguments: str) -> tuple[int, str]:
    """Exit status, and the last line on stderr, of an engine that must not start."""
    ended = subprocess.run(
        engine_command("--metrics", "", *arguments),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.splitlines()[-1]


def test_no_voice(tmp_path: Path) -> None:
    status, line = refused("--voices", str(tmp_path))
    assert status == 1
    assert line.startswith(f"tts-engine: no voice in {tmp_path}: looked for NAME.onnx")
    assert "--voices (TTS_ENGINE_VOICES)" in line


def test_a_bad_setting() -> None:
    status, line = refused("--listen", "nowhere")
    assert status == 2
    assert line.startswith("tts-engine: --listen is 'nowhere': it must be HOST:PORT")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        status, line = refused("--voices", str(VOICES_DIR), "--listen", listen)
    assert status == 1
    assert line.startswith(f"tts-engine: cannot serve gRPC on {listen}: Address already in use. ")


def test_a_metrics_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics = f"127.0.0.1:{taken.getsockname()[1]}"
        status, line = refused("--voices", str(VOICES_DIR), "--listen", "127.0.0.1:0", "--metrics", metrics)
    assert status == 1
    assert line.startswith(f"tts-engine: cannot serve metrics on {metrics}: Address already in use. ")


def test_a_socket_without_a_directory(tmp_path: Path) -> None:
    status, line = refused("--voices", str(VOICES_DIR), "--listen", f"unix:{tmp_path}/gone/e.sock")
    assert status == 1
    assert "gone/e.sock: No such file or directory. Create its directory" in line


def test_a_file_in_the_sockets_place_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "e.sock"
    file.write_text("precious")
    status, line = refused("--voices", str(VOICES_DIR), "--listen", f"unix:{file}")
    assert status == 1
    assert "no socket" in line
    assert file.read_text() == "precious"


def test_a_unix_socket_is_the_groups_and_its_remains_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    with running_engine(listen=f"unix:{path}") as first:
        assert stat.filemode(path.stat().st_mode) == "srw-rw----"
        status, line = refused("--voices", str(VOICES_DIR), "--listen", f"unix:{path}")
        assert status == 1
        assert "another process listens there" in line
        with speech_stub(first) as stub:
            assert speak(stub, ["Still here."])
        first.end(signal.SIGKILL)
        assert path.exists()
    with running_engine(listen=f"unix:{path}") as second:
        with speech_stub(second) as stub:
            assert speak(stub, ["Hello again."])
        assert second.end() == 0
        assert not path.exists()


def test_corrupt_voices_are_refused_by_name_and_the_others_serve(tmp_path: Path) -> None:
    model = (VOICES_DIR / f"{VOICE}.onnx").read_bytes()
    for name, content in (("whole", model), ("flipped", model[:-1] + b"\0"), ("cut", model[:100_000])):
        (tmp_path / f"{name}.onnx").write_bytes(content)
        (tmp_path / f"{name}.onnx.json").symlink_to(VOICES_DIR / f"{VOICE}.onnx.json")
    sums = subprocess.run(
        ["sha256sum", VOICES_DIR / f"{VOICE}.onnx"], capture_output=True, text=True, check=True
    )
    (tmp_path / "flipped.onnx.sha256").write_text(sums.stdout.split()[0])
    with running_engine("--default-voice", "whole", voices=tmp_path) as engine, speech_stub(engine) as stub:
        assert sorted(
            line.split("voice=")[1].split()[0] for line in engine.log if "voice_refused" in line
        ) == [
            "cut",
            "flipped",
        ]
        assert speak(stub, ["Hello."])
        models = stub.GetRivaSynthesisConfig(riva.RivaSynthesisConfigRequest()).model_config
        assert [model.model_name for model in models] == ["whole"]
        with pytest.raises(grpc.RpcError) as failed:
            speak(stub, ["Hello."], voice_name="flipped")
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        assert "was refused" in details(failed.value)
        assert "SHA-256" in details(failed.value)
        assert engine.scrape()["tts_engine_voices_refused"] == 2


def test_a_voice_whose_language_espeak_does_not_have_fails_alone(tmp_path: Path) -> None:
    voices.install(tmp_path, "lost", espeak={"voice": "xx-nowhere"})
    voices.install(tmp_path, "whole")
    with running_engine("--default-voice", "whole", voices=tmp_path) as engine, speech_stub(engine) as stub:
        with pytest.raises(grpc.RpcError) as failed:
            speak(stub, ["Hello."], voice_name="lost")
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert "lost" in details(failed.value)
        assert any("phonemizing_failed" in line and "xx-nowhere" in line for line in engine.log)
        assert not any("Traceback" in line for line in engine.log)
        assert speak(stub, ["Hello."])


def test_a_full_engine_says_when_to_come_back() -> None:
    with running_engine("--max-streams", "1", "--threads", "1") as engine, speech_stub(engine) as stub:
        long = stub.SynthesizeOnline(iter([riva.SynthesizeSpeechRequest(text=LONG_TEXT)]), timeout=DEADLINE_S)
        assert next(iter(long)).audio  # it holds the one place, until all of its text is spoken
        with pytest.raises(grpc.RpcError) as failed:
            stub.Synthesize(riva.SynthesizeSpeechRequest(text="Hello."), timeout=DEADLINE_S)
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        hints = {entry.key: entry.value for entry in failed.value.trailing_metadata()}
        assert 100 <= int(hints["retry-after-ms"]) <= 10_000
        long.cancel()


def test_sigterm_finishes_what_came_and_ends_streams_that_wait(tmp_path: Path) -> None:
    notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notifications.bind(str(tmp_path / "notify"))
    notifications.settimeout(DEADLINE_S)
    with (
        notifications,
        running_engine(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as engine,
        speech_stub(engine) as stub,
        grpc.insecure_channel(engine.target) as channel,
    ):
        assert notifications.recv(64) == b"READY=1"
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def requests() -> Iterator[riva.SynthesizeSpeechRequest]:
            while (text := texts.get()) is not None:
                yield riva.SynthesizeSpeechRequest(text=text)

        texts.put("Hello.")
        waiting = stub.SynthesizeOnline(requests(), timeout=DEADLINE_S)
        assert next(iter(waiting)).audio
        busy = stub.SynthesizeOnline(
            iter([riva.SynthesizeSpeechRequest(text="This is the last thing to be said today. " * 5)]),
            timeout=DEADLINE_S,
        )
        heard = [next(iter(busy))]

        engine.process.send_signal(signal.SIGTERM)
        assert notifications.recv(64) == b"STOPPING=1"
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        heard += busy
        assert sum(bool(response.meta.text) for response in heard) == 5
        assert busy.code() is grpc.StatusCode.OK
        with pytest.raises(grpc.RpcError) as ended:
            list(waiting)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in details(ended.value)
        texts.put(None)
        watch.cancel()
        assert engine.wait() == 0
    assert not any("Traceback" in line for line in engine.log), engine.log


def test_sigterm_has_a_bound() -> None:
    with running_engine("--grace-s", "0.2") as engine, speech_stub(engine) as stub:
        call = stub.SynthesizeOnline(iter([riva.SynthesizeSpeechRequest(text=LONG_TEXT)]), timeout=DEADLINE_S)
        assert next(iter(call)).audio
        assert engine.end() == 0  # with the reader stalled, it would never end by itself
        with pytest.raises(grpc.RpcError):
            list(call)


def test_the_default_voice_directory_is_said_where_it_is_missing() -> None:
    if Path("/var/lib/voices").exists():
        pytest.skip("this machine has voices installed")
    ended = subprocess.run(
        engine_command(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("TTS_ENGINE_")},
    )
    assert ended.returncode == 1
    assert "cannot read the voices directory /var/lib/voices" in ended.stderr
