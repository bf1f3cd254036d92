"""A voice's model: its graph, cut and windowed, ready to render utterances.

    ids ─ encoder ─▶ durations ─ windows ─▶ for each: latent frames ─ flow, decoder (carry state) ─▶ samples

A graph that cannot be cut is run whole: it speaks, but utterance by utterance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tts_engine import carry, cut
from tts_engine.audio import Samples
from tts_engine.runtime import Session

# Frames (of 256 samples) that the first window brings: with fewer, a consumer that resamples (41-81 ms held
# back) has nothing to play until the second window; with more, everybody waits longer for the first sound.
FIRST_FRAMES = 8
# Then 16 frames, doubling to 64: what a cancel, and other streams, wait for (25 ms on one core). Measured, in
# time of the whole graph: windows of 32 frames 1.05, 64 1.01, 96 1.00.
SECOND_FRAMES = 16
MAX_FRAMES = 64
MIN_LAST_FRAMES = 8

Counts = npt.NDArray[np.int64]
Noise = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scales:
    """`noise`: of the latent; `length`: of the durations; `noise_w`: of the durations' noise."""

    noise: float
    length: float
    noise_w: float


class Rendering(Protocol):
    """One utterance on its way to audio.

    `durations`: of each phoneme id in samples, `(n_ids,) int64`; None where the graph does not tell.
    """

    @property
    def durations(self) -> Counts | None: ...

    @property
    def n_samples(self) -> int: ...

    def windows(self) -> Iterator[Samples]:
        """The audio at the voice's rate, window by window; each step blocks for one window's work."""
        ...


class Model(Protocol):
    """What a voice speaks with. Thread-safe."""

    is_windowed: bool

    def render(
        self, ids: Sequence[int], scales: Scales, speaker: int | None, seed: Sequence[int]
    ) -> Rendering:
        """Run the encoder. The same arguments give the same samples, in any process."""
        ...


@dataclass(frozen=True)
class Stage:
    """A part of a cut graph that runs window by window (see `carry`).

    `window`: the name of its input; `states`: of each state its (channels, first samples); `rate`, `lag`: of
    its output, in samples.
    """

    session: Session
    window: str
    states: Mapping[str, Sequence[int]]
    rate: int
    lag: int

    @property
    def lag_frames(self) -> int:
        return math.ceil(self.lag / self.rate)


class WindowedModel:
    """A cut graph."""

    is_windowed = True

    def __init__(self, encoder: Session, flow: Stage, decoder: Stage) -> None:
        self._encoder = encoder
        self._flow = flow
        self._decoder = decoder

    def render(
        self, ids: Sequence[int], scales: Scales, speaker: int | None, seed: Sequence[int]
    ) -> Rendering:
        n_ids = len(ids)
        means, log_deviations, durations = self._encoder.run(
            {
                **_piper_inputs(ids, scales, speaker),
                cut.DURATION_NOISE: _noise(seed, 0, (1, 2, n_ids)),
            }
        )
        frames = durations.reshape(n_ids).astype(np.int64)
        return _Windows(
            flow=_Run(self._flow, speaker),
            decoder=_Run(self._decoder, speaker),
            means=means[0],
            deviations=np.exp(log_deviations[0]) * np.float32(scales.noise),
            owners=np.repeat(np.arange(n_ids), frames),
            seed=seed,
            durations=frames * self._decoder.rate,
        )


class _Run:
    """A stage on its way through one utterance."""

    def __init__(self, stage: Stage, speaker: int | None) -> None:
        self.lag_frames = stage.lag_frames
        self._stage = stage
        self._speaker = _speaker_input(speaker)
        self._is_first = True
        self._states = {name: np.zeros((1, *shape), np.float32) for name, shape in stage.states.items()}

    def step(self, window: npt.NDArray[np.float32], *, is_last: bool) -> npt.NDArray[np.float32]:
        output, *states = self._stage.session.run(
            {
                self._stage.window: window,
                carry.FIRST: np.array([self._is_first], np.int64),
                carry.LAST: np.array([is_last], np.int64),
                **self._states,
                **self._speaker,
            }
        )
        self._states = dict(zip(self._states, states, strict=True))
        self._is_first = False
        return output


@dataclass(frozen=True)
class _Windows:
    """`means`, `deviations`: `(channels, n_ids) float32`; `owners`: of each frame, which id it belongs to."""

    flow: _Run
    decoder: _Run
    means: npt.NDArray[np.float32]
    deviations: npt.NDArray[np.float32]
    owners: Counts
    seed: Sequence[int]
    durations: Counts

    @property
    def n_samples(self) -> int:
        return int(self.durations.sum())

    def windows(self) -> Iterator[Samples]:
        n_frames = len(self.owners)
        flowed: list[npt.NDArray[np.float32]] = []
        fed = decoded = 0
        for number, size in enumerate(window_sizes(n_frames, self.decoder.lag_frames), start=1):
            decoded += size
            # The flow goes ahead by its lag, and no further: its first run is part of the first sound.
            needed = min(n_frames, decoded + self.flow.lag_frames)
            if needed > fed:
                latent = self._latent(self.owners[fed:needed], number)
                flowed.append(self.flow.step(latent, is_last=needed == n_frames))
                fed = needed
            frames = np.concatenate(flowed, axis=2)
            window, flowed = frames[:, :, :size], [frames[:, :, size:]]
            yield self.decoder.step(window, is_last=decoded == n_frames).reshape(-1)

    def _latent(self, owners: Counts, number: int) -> npt.NDArray[np.float32]:
        """z of the frames that belong to these ids: `(1, channels, n_frames)`."""
        shape = (len(self.means), len(owners))
        noise = _noise(self.seed, number, shape)
        latent = self.means[:, owners] + noise * self.deviations[:, owners]
        return latent[np.newaxis]


def window_sizes(n_frames: int, lag_frames: int) -> list[int]:
    """How many frames each window takes. It depends on nothing else: other windows round differently.

    The first takes the decoder's lag on top of what it brings. A rest too small for a window of its own goes
    with the one before it.
    """
    sizes: list[int] = []
    size = lag_frames + FIRST_FRAMES
    following = SECOND_FRAMES
    while n_frames >= size + MIN_LAST_FRAMES:
        sizes.append(size)
        n_frames -= size
        size, following = following, min(following * 2, MAX_FRAMES)
    if n_frames:
        sizes.append(n_frames)
    return sizes


def _noise(seed: Sequence[int], number: int, shape: tuple[int, ...]) -> Noise:
    """Standard normal noise of one window (from 1), or of the durations (0): each can be made again alone."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([*seed, number])))
    return generator.standard_normal(shape, np.float32)


def _piper_inputs(ids: Sequence[int], scales: Scales, speaker: int | None) -> dict[str, npt.NDArray[Any]]:
    return {
        "input": np.array([ids], np.int64),
        "input_lengths": np.array([len(ids)], np.int64),
        "scales": np.array([scales.noise, scales.length, scales.noise_w], np.float32),
        **_speaker_input(speaker),
    }


def _speaker_input(speaker: int | None) -> dict[str, npt.NDArray[np.int64]]:
    return {"sid": np.array([speaker or 0], np.int64)}


class WholeModel:
    """A graph as it is. Its noise is its own: the same request does not give the same samples."""

    is_windowed = False

    def __init__(self, session: Session) -> None:
        self._session = session

    def render(
        self, ids: Sequence[int], scales: Scales, speaker: int | None, seed: Sequence[int]
    ) -> Rendering:
        audio = self._session.run(_piper_inputs(ids, scales, speaker))[0]
        return _Whole(audio.reshape(-1))


@dataclass(frozen=True)
class _Whole:
    samples: Samples
    durations: None = None

    @property
    def n_samples(self) -> int:
        return len(self.samples)

    def windows(self) -> Iterator[Samples]:
        yield self.samples
