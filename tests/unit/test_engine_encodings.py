"""What the encodings give back when decoded, however their samples come in."""

from __future__ import annotations

import gc
import io
import struct
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tts_engine.audio import Samples
from tts_engine.encodings import OPUS_RATES_HZ, Encoding, codec_rate, encoder

OPUS_HZ = 48_000  # in which Ogg/Opus counts, whatever the rate (RFC 7845, section 4)
RATE_HZ = 16_000

# G.711's decision values, tables 1a and 2a, at which a segment begins, and its first character signal.
MULAW_SEGMENTS = {
    0: 0xFF,
    31: 0xEF,
    95: 0xDF,
    223: 0xCF,
    479: 0xBF,
    991: 0xAF,
    2015: 0x9F,
    4063: 0x8F,
}
ALAW_SEGMENTS = {
    0: 0b1000_0000,
    32: 0b1001_0000,
    64: 0b1010_0000,
    128: 0b1011_0000,
    256: 0b1100_0000,
    512: 0b1101_0000,
    1024: 0b1110_0000,
    2048: 0b1111_0000,
}


def encoded(encoding: Encoding, samples: Samples, rate_hz: int = RATE_HZ) -> bytes:
    stream = encoder(encoding, rate_hz)
    return stream.push(samples) + stream.finish()


def from_pcm16(numbers: npt.ArrayLike) -> Samples:
    return (np.asarray(numbers) / 32767).astype(np.float32)


def companded(encoding: Encoding, numbers: npt.ArrayLike) -> list[int]:
    return list(encoded(encoding, from_pcm16(numbers)))


def decoded(codec: str, codes: bytes) -> list[int]:
    """16-bit samples."""
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout = RATE_HZ, "mono"
    return [int(n) for frame in context.decode(av.Packet(codes)) for n in frame.to_ndarray()[0]]


def tone(seconds: float, rate_hz: int) -> Samples:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 1300 * t)).astype(np.float32)


def opened(ogg: bytes) -> npt.NDArray[np.float32]:
    """The samples, at 48 kHz."""
    with av.open(io.BytesIO(ogg), "r") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames)


def granules(ogg: bytes) -> list[int]:
    """How many samples at 48 kHz can be played up to the end of each page, as far as pages are complete."""
    counts = []
    while ogg:
        assert ogg[:4] == b"OggS"
        (count,) = struct.unpack_from("<q", ogg, 6)
        counts.append(count)
        segments = ogg[26]
        ogg = ogg[27 + segments + sum(ogg[27 : 27 + segments]) :]
    return counts


def pre_skip(ogg: bytes) -> int:
    (count,) = struct.unpack_from("<H", ogg, ogg.index(b"OpusHead") + 10)
    return int(count)


def test_pcm16_is_rounded_and_clipped() -> None:
    pcm = encoded(Encoding.PCM_S16LE, np.array([0, 1, -1, 7, -7, 0.6 / 32767, -0.4 / 32767], np.float32))
    assert np.frombuffer(pcm, "<i2").tolist() == [0, 32767, -32767, 32767, -32767, 1, 0]


def test_floats_are_as_they_were() -> None:
    samples = np.array([0, 0.1, -1, 7, -7], np.float32)
    assert encoded(Encoding.PCM_F32LE, samples) == struct.pack("<5f", *samples)


@pytest.mark.parametrize(
    ("encoding", "n_bytes"),
    [(Encoding.PCM_S16LE, 2), (Encoding.PCM_F32LE, 4), (Encoding.MULAW, 1), (Encoding.ALAW, 1)],
)
def test_each_sample_has_its_bytes(encoding: Encoding, n_bytes: int) -> None:
    assert len(encoded(encoding, tone(0.1, RATE_HZ))) == RATE_HZ // 10 * n_bytes


def test_mulaw_is_the_standards() -> None:
    for begin, code in MULAW_SEGMENTS.items():
        assert companded(Encoding.MULAW, [begin * 4, -begin * 4 - 1]) == [code, code & 0x7F]
    for (_, before), (begin, code) in pairwise(MULAW_SEGMENTS.items()):
        assert companded(Encoding.MULAW, [begin * 4 - 1, -begin * 4]) == [code + 1, code + 1 & 0x7F]
        assert code + 16 == before
    assert companded(Encoding.MULAW, [32767, -32768]) == [0x80, 0x00]


def test_alaw_is_the_standards() -> None:
    for begin, code in ALAW_SEGMENTS.items():
        signals = [code ^ 0x55, code & 0x7F ^ 0x55]
        assert companded(Encoding.ALAW, [begin * 8, -begin * 8 - 1]) == signals
    for begin, code in list(ALAW_SEGMENTS.items())[1:]:
        signals = [code - 1 ^ 0x55, code - 1 & 0x7F ^ 0x55]
        assert companded(Encoding.ALAW, [begin * 8 - 1, -begin * 8]) == signals
    assert companded(Encoding.ALAW, [32767, -32768]) == [0xFF ^ 0x55, 0x7F ^ 0x55]


@pytest.mark.parametrize(("encoding", "codec"), [(Encoding.MULAW, "pcm_mulaw"), (Encoding.ALAW, "pcm_alaw")])
def test_what_a_code_decodes_to_has_that_code(encoding: Encoding, codec: str) -> None:
    codes = [code for code in range(256) if (encoding, code) != (Encoding.MULAW, 0x7F)]  # its negative zero
    assert companded(encoding, decoded(codec, bytes(codes))) == codes


@given(
    encoding=st.sampled_from(Encoding),
    n_samples=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
    seed=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_the_pieces_do_not_change_the_bytes(
    encoding: Encoding, n_samples: int, cuts: list[int], seed: int
) -> None:
    samples = np.random.default_rng(seed).normal(0, 0.5, n_samples).astype(np.float32)
    stream = encoder(encoding, RATE_HZ)
    pieces = [stream.push(piece) for piece in np.split(samples, sorted(cuts))]
    assert b"".join([*pieces, stream.finish()]) == encoded(encoding, samples)


@pytest.mark.parametrize(
    ("asked_hz", "rate_hz"), [(8000, 8000), (11025, 12000), (22050, 24000), (44100, 48000), (48000, 48000)]
)
def test_opus_takes_the_next_rate_it_knows(asked_hz: int, rate_hz: int) -> None:
    assert codec_rate(Encoding.OGG_OPUS, asked_hz) == rate_hz
    assert codec_rate(Encoding.PCM_S16LE, asked_hz) == asked_hz


@pytest.mark.parametrize("rate_hz", OPUS_RATES_HZ)
def test_opus_sounds_as_it_did(rate_hz: int) -> None:
    """Also not a sample late: a delay would be most of the difference."""
    samples = tone(1.0, rate_hz)
    heard = opened(encoded(Encoding.OGG_OPUS, samples, rate_hz))[:: OPUS_HZ // rate_hz]
    assert np.std(heard - samples) < 0.05 * np.std(samples)


@pytest.mark.parametrize("rate_hz", OPUS_RATES_HZ)
@pytest.mark.parametrize("n_samples", [1, 100, 159, 160, 161, 960, 961, 7777])
def test_opus_is_as_long_as_the_audio(rate_hz: int, n_samples: int) -> None:
    ogg = encoded(Encoding.OGG_OPUS, tone(1.0, rate_hz)[:n_samples], rate_hz)
    length = min(n_samples, rate_hz) * OPUS_HZ // rate_hz
    assert granules(ogg)[-1] - pre_skip(ogg) == length
    assert len(opened(ogg)) == length


def test_opus_without_audio_is_nothing() -> None:
    assert encoded(Encoding.OGG_OPUS, np.zeros(0, np.float32)) == b""


def test_opus_holds_little_back() -> None:
    stream, ogg = encoder(Encoding.OGG_OPUS, RATE_HZ), b""
    samples = tone(2.0, RATE_HZ)
    step = RATE_HZ // 100
    for pushed in range(step, len(samples) + 1, step):
        ogg += stream.push(samples[pushed - step : pushed])
        playable = max(granules(ogg)[-1] - pre_skip(ogg), 0) if ogg else 0
        assert pushed / RATE_HZ - playable / OPUS_HZ < 0.1


def test_opus_says_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    encoded(Encoding.OGG_OPUS, tone(0.1, RATE_HZ))
    encoder(Encoding.OGG_OPUS, RATE_HZ)
    assert capfd.readouterr() == ("", "")


def rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize("finished", [True, False])
def test_opus_encoders_are_released_at_once(finished: bool) -> None:
    """Also those of clients that left: each holds 270 kB."""
    samples = tone(0.1, RATE_HZ)

    def used(count: int) -> None:
        for _ in range(count):
            stream = encoder(Encoding.OGG_OPUS, RATE_HZ)
            stream.push(samples)
            if finished:
                stream.finish()

    gc.disable()
    try:
        used(50)
        before = rss_bytes()
        used(500)
        assert rss_bytes() - before < 20_000_000
    finally:
        gc.enable()
