from pathlib import Path

import pytest
from tts_engine.runtime import Precision, Provider
from tts_engine.settings import (
    TcpAddress,
    UnixAddress,
    load_settings,
    parse_address,
)


def test_defaults() -> None:
    settings = load_settings([], {})
    assert settings.listen == TcpAddress("127.0.0.1", 50051)
    assert settings.metrics == TcpAddress("127.0.0.1", 9101)
    assert settings.voices == Path("/var/lib/voices")
    assert settings.default_voice is None
    assert settings.threads >= 1


def test_environment() -> None:
    settings = load_settings(
        [],
        {
            "TTS_ENGINE_LISTEN": "unix:/run/tts-engine/engine.sock",
            "TTS_ENGINE_VOICES": "/srv/voices",
            "TTS_ENGINE_DEFAULT_VOICE": "anna",
            "TTS_ENGINE_METRICS": "",
            "TTS_ENGINE_THREADS": "3",
            "TTS_ENGINE_MAX_STREAMS": "5",
            "TTS_ENGINE_PRELOAD": "anna, bert",
            "TTS_ENGINE_VOICES_MEMORY": "100",
            "TTS_ENGINE_CACHE": "/var/cache/tts-engine",
            "TTS_ENGINE_PRECISION": "bf16",
            "TTS_ENGINE_PROVIDER": "cuda",
            "TTS_ENGINE_GRACE_S": "2.5",
        },
    )
    assert settings.listen == UnixAddress(Path("/run/tts-engine/engine.sock"))
    assert settings.voices == Path("/srv/voices")
    assert settings.default_voice == "anna"
    assert settings.metrics is None
    assert settings.preload == ("anna", "bert")
    assert settings.voices_memory_bytes == 100 * 1024 * 1024
    assert settings.cache == Path("/var/cache/tts-engine")
    assert (settings.precision, settings.provider) == (Precision.BF16, Provider.CUDA)
    assert (settings.threads, settings.max_streams, settings.grace_s) == (3, 5, 2.5)


def test_flag_wins_even_over_a_bad_variable() -> None:
    settings = load_settings(["--threads", "2", "--metrics", ""], {"TTS_ENGINE_THREADS": "many"})
    assert settings.threads == 2
    assert settings.metrics is None


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:50051", "::1", 50051), ("tts:1", "tts", 1)],
)
def test_tcp_addresses(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert address == TcpAddress(host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "foo", ":1", "h:", "h:65536", "h:-1", "h:²", "unix:", "unix:relative", "unix:/" + "x" * 107]
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|too long"):
        parse_address(text)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--listen", "foo"),
        ("--metrics", "9101"),
        ("--threads", "0"),
        ("--threads", "two"),
        ("--max-streams", "-1"),
        ("--voices-memory", "2G"),
        ("--precision", "int8"),
        ("--provider", "tpu"),
        ("--grace-s", "nan"),
        ("--voices", ""),
    ],
)
def test_a_bad_value_is_named_with_its_source(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    variable = "TTS_ENGINE_" + flag.removeprefix("--").replace("-", "_").upper()
    for arguments, environment, source in (
        ([f"{flag}={value}"], {}, flag),
        ([], {variable: value}, variable),
    ):
        with pytest.raises(SystemExit) as ended:
            load_settings(arguments, environment)
        assert ended.value.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert f"{source} is {value!r}" in line
