"""Samples into the encodings a client may ask for, as a stream."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt

from tts_engine.audio import Samples, pcm16

# The rates Opus codes (RFC 6716, section 2); a decoder may play each of them at any of them.
OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)

# A target: speech comes out at about 47 kbit/s, at any of the rates.
OPUS_BIT_RATE = 32_000

# From 7 on libopus analyses the signal and codes speech in its hybrid mode: four times the CPU, for a
# spectrum that at the same bits is no closer to the original.
OPUS_COMPLEXITY = 5

# The muxer holds a page until the next is full, so the first comes after two of them, 80 ms. Higher, and
# audio comes later; lower, and page headers eat the bits: 7 % more at 40 ms than at 100, 19 % at 20.
OGG_PAGE_MS = 40


class Encoding(Enum):
    """How samples become bytes. Mono, and without a header except for OGG_OPUS."""

    PCM_S16LE = "pcm_s16le"
    PCM_F32LE = "pcm_f32le"
    MULAW = "mulaw"
    ALAW = "alaw"
    OGG_OPUS = "ogg_opus"


class Encoder(Protocol):
    """One continuous stream. How it is cut into pieces does not change the bytes."""

    def push(self, samples: Samples) -> bytes:
        """What is ready after `samples`, `(n_samples,) float32` at the encoder's rate; may be empty."""

    def finish(self) -> bytes:
        """What was still held. Nothing may be pushed after it."""


def codec_rate(encoding: Encoding, asked_hz: int) -> int:
    """The rate to resample to for a client that asked for `asked_hz`, 8000 to 48000.

    For OGG_OPUS the next rate that Opus knows, so that nothing of the asked band is lost: 24000 for 22050,
    48000 for 44100. An Opus decoder plays at a rate of its own choice, most at 48000.
    """
    if encoding is not Encoding.OGG_OPUS:
        return asked_hz
    return next(rate_hz for rate_hz in OPUS_RATES_HZ if rate_hz >= asked_hz)


def encoder(encoding: Encoding, sample_rate_hz: int) -> Encoder:
    """An encoder for samples at `sample_rate_hz`, a `codec_rate` of `encoding`."""
    if encoding is Encoding.OGG_OPUS:
        return _OggOpus(sample_rate_hz)
    return _SampleBySample(_ENCODE[encoding])


class _SampleBySample:
    """Every sample has its own bytes, so nothing is ever held."""

    def __init__(self, encode: Callable[[Samples], bytes]) -> None:
        self._encode = encode

    def push(self, samples: Samples) -> bytes:
        return self._encode(samples)

    def finish(self) -> bytes:
        return b""


class _OggOpus:
    """Opus in Ogg (RFC 7845), in pages of OGG_PAGE_MS.

    Pre-skip and end granule give exactly the samples that were pushed; none pushed, no bytes. The stream's
    serial number is always 0, so two of them must not be joined into one file.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._time_base = Fraction(1, sample_rate_hz)
        self._pushed = 0
        self._pages = _Pages()
        self._container = av.open(
            self._pages,
            "w",
            format="ogg",
            options={
                "page_duration": str(OGG_PAGE_MS * 1000),
                "fflags": "+bitexact",  # else the serial number is random: equal samples, other bytes
            },
        )
        self._stream = self._container.add_stream(
            "libopus",
            rate=sample_rate_hz,
            options={"application": "audio", "compression_level": str(OPUS_COMPLEXITY)},
            layout="mono",
            format="flt",
            bit_rate=OPUS_BIT_RATE,
        )

    def __del__(self) -> None:
        # The container and its file hold each other: without this, an encoder that a client left alone keeps
        # its 270 kB until the cyclic collector comes by.
        self._container.close()

    def push(self, samples: Samples) -> bytes:
        if not len(samples):
            return b""
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
        frame.rate = self._stream.rate
        # Without it, packets would not tell of the encoder's delay and the muxer would count it twice.
        frame.pts, frame.time_base = self._pushed, self._time_base
        self._pushed += len(samples)
        self._container.mux(self._stream.encode(frame))
        return self._pages.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._pages.take()


class _Pages:
    """The file the muxer writes to."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, page: bytes) -> int:
        self._written += page
        return len(page)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


def _pcm_f32(samples: Samples) -> bytes:
    """As they are, also beyond ±1."""
    return samples.astype("<f4").tobytes()


def _mulaw(samples: Samples) -> bytes:
    return _companded(samples, _MULAW)


def _alaw(samples: Samples) -> bytes:
    return _companded(samples, _ALAW)


def _companded(samples: Samples, codes: npt.NDArray[np.uint8]) -> bytes:
    companded: npt.NDArray[np.uint8] = codes[np.frombuffer(pcm16(samples), "<u2")]
    return companded.tobytes()


_ENCODE: dict[Encoding, Callable[[Samples], bytes]] = {
    Encoding.PCM_S16LE: pcm16,
    Encoding.PCM_F32LE: _pcm_f32,
    Encoding.MULAW: _mulaw,
    Encoding.ALAW: _alaw,
}


# Companding as ITU-T G.711 has it: a sign, a segment, one of 16 steps in it, twice as wide in each segment.
# Both tables are (65536,) uint8, indexed by the bits of a 16-bit sample. Negative samples are rounded as in
# ITU-T G.191's reference program, by their ones' complement.
_PCM16 = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
_NEGATIVE = _PCM16 < 0
_MAGNITUDE = np.where(_NEGATIVE, ~_PCM16, _PCM16)


def _bit_length(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.frexp(numbers)[1]


def _low_bytes(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    return (numbers & 0xFF).astype(np.uint8)


def _mulaw_codes() -> npt.NDArray[np.uint8]:
    """14 bits; the bias of 33 makes each segment begin at a power of two."""
    biased = np.minimum((_MAGNITUDE >> 2) + 33, (1 << 13) - 1)
    segment = _bit_length(biased) - 6
    step = biased >> (segment + 1) & 15
    return _low_bytes(~(_NEGATIVE << 7 | segment << 4 | step))


def _alaw_codes() -> npt.NDArray[np.uint8]:
    """13 bits; segments 0 and 1 have the same step. Every other bit goes out inverted."""
    magnitude = _MAGNITUDE >> 4
    segment = np.maximum(_bit_length(magnitude) - 4, 0)
    step = magnitude >> np.maximum(segment - 1, 0) & 15
    return _low_bytes((~_NEGATIVE << 7 | segment << 4 | step) ^ 0x55)


_MULAW = _mulaw_codes()
_ALAW = _alaw_codes()
