"""A real voice's graph, cut and run window by window, against the whole of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from tts_engine import carry, cut
from tts_engine.model import Scales, Stage, WholeModel, WindowedModel, window_sizes
from tts_engine.runtime import Runtime, Session

from tests import voices

# Rounding: 120 dB and more, whatever the windows.
EXACT_DB = 100.0
SILENT = Scales(noise=0.0, length=1.0, noise_w=0.0)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Cut:
    """A graph in all its forms. `plain`: flow and decoder as cut, without windows."""

    whole: Session
    encoder: Session
    plain: tuple[Session, Session]
    flow: Stage
    decoder: Stage

    @property
    def model(self) -> WindowedModel:
        return WindowedModel(self.encoder, self.flow, self.decoder)

    def latent(self, ids: Sequence[int], speaker: int = 0) -> Array:
        """z without noise, `(1, channels, n_frames)`."""
        means, _, durations = self.encoder.run(
            piper_inputs(ids, SILENT, speaker) | {cut.DURATION_NOISE: np.zeros((1, 2, len(ids)), np.float32)}
        )
        return np.repeat(means, durations.reshape(-1).astype(int), axis=2)

    def decoded(self, latent: Array) -> Array:
        (frames,) = self.plain[0].run({cut.LATENT: latent})
        return self.plain[1].run({cut.FRAMES: frames})[0]

    def windowed(self, latent: Array, sizes: Callable[[], Iterable[int]], speaker: int = 0) -> Array:
        """Both stages, each in windows of `sizes` after a first one that is longer than its lag."""
        frames = windows_of(self.flow, latent, sizes(), speaker)
        return windows_of(self.decoder, frames, sizes(), speaker)


def windows_of(stage: Stage, whole: Array, sizes: Iterable[int], speaker: int) -> Array:
    carried: dict[str, Array] = {
        name: np.zeros((1, *shape), np.float32) for name, shape in stage.states.items()
    }
    pieces = []
    start, n_frames = 0, whole.shape[2]
    for size in itertools.chain([stage.lag_frames + 1], sizes):
        flags = {carry.FIRST: start == 0, carry.LAST: start + size >= n_frames}
        piece, *states = stage.session.run(
            {stage.window: whole[:, :, start : start + size], "sid": np.array([speaker])}
            | {name: np.array([flag], np.int64) for name, flag in flags.items()}
            | carried
        )
        carried = dict(zip(carried, states, strict=True))
        pieces.append(piece)
        start += size
        if start >= n_frames:
            break
    return np.concatenate(pieces, axis=2)


def cut_apart(content: bytes) -> Cut:
    runtime = Runtime()
    parts = cut.cut(onnx.load_model_from_string(content))

    def stage(part: ModelProto, window: str) -> Stage:
        made = carry.carry(part, window)
        states = {name: value.shape[1:] for name, value in made.states.items()}
        session = runtime.session(made.model.SerializeToString())
        return Stage(session, window, states, made.rate, made.lag)

    return Cut(
        whole=runtime.session(content),
        encoder=runtime.session(parts.encoder.SerializeToString()),
        plain=(
            runtime.session(parts.flow.SerializeToString()),
            runtime.session(parts.decoder.SerializeToString()),
        ),
        flow=stage(parts.flow, cut.LATENT),
        decoder=stage(parts.decoder, cut.FRAMES),
    )


@pytest.fixture(scope="module")
def one() -> Cut:
    return cut_apart(voices.MODEL.read_bytes())


@pytest.fixture(scope="module")
def two() -> Cut:
    return cut_apart(voices.two_speakers())


def piper_inputs(ids: Sequence[int], scales: Scales, speaker: int = 0) -> dict[str, Array]:
    return {
        "input": np.array([ids], np.int64),
        "input_lengths": np.array([len(ids)], np.int64),
        "scales": np.array([scales.noise, scales.length, scales.noise_w], np.float32),
        "sid": np.array([speaker], np.int64),
    }


def snr_db(expected: Array, got: Array) -> float:
    assert expected.shape == got.shape
    noise = np.square(expected - got).sum()
    return float(10 * np.log10(np.square(expected).sum() / noise)) if noise else math.inf


def random_sizes() -> Iterator[int]:
    random = np.random.default_rng(3)
    while True:
        yield int(random.integers(1, 40))


@pytest.mark.parametrize("n_phonemes", [1, 2, 7, 40, 200])
def test_a_cut_graph_is_the_whole_one(one: Cut, n_phonemes: int) -> None:
    ids = voices.ids(n_phonemes)
    (whole,) = one.whole.run(piper_inputs(ids, SILENT))
    decoded = one.decoded(one.latent(ids))
    assert snr_db(whole.reshape(-1), decoded.reshape(-1)) > EXACT_DB
    rendering = one.model.render(ids, SILENT, None, (0,))
    samples = np.concatenate(list(rendering.windows()))
    assert snr_db(whole.reshape(-1), samples) > EXACT_DB
    assert rendering.durations is not None
    assert len(rendering.durations) == len(ids)
    assert rendering.durations.sum() == len(samples)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(lambda: itertools.repeat(10_000), id="one"),
        pytest.param(lambda: itertools.repeat(1), id="frames"),
        pytest.param(lambda: itertools.repeat(16), id="short"),
        pytest.param(lambda: itertools.cycle([64, 1]), id="uneven"),
        pytest.param(random_sizes, id="random"),
    ],
)
@pytest.mark.parametrize("n_phonemes", [1, 60])
def test_windows_of_any_size_are_the_same_audio(
    one: Cut, n_phonemes: int, sizes: Callable[[], Iterator[int]]
) -> None:
    latent = one.latent(voices.ids(n_phonemes))
    assert snr_db(one.decoded(latent).reshape(-1), one.windowed(latent, sizes).reshape(-1)) > EXACT_DB


def test_the_noise_is_the_seeds(one: Cut) -> None:
    ids, scales, seed = voices.ids(60), Scales(noise=0.667, length=1.1, noise_w=0.8), (5, 6)
    rendering = one.model.render(ids, scales, None, seed)
    samples = np.concatenate(list(rendering.windows()))
    assert rendering.durations is not None

    def noise(number: int, shape: tuple[int, ...]) -> Array:
        bits = np.random.Philox(np.random.SeedSequence([*seed, number]))
        return np.random.Generator(bits).standard_normal(shape, np.float32)

    # A window's noise is drawn for the frames that the flow takes for it.
    n_frames = int(rendering.durations.sum()) // one.decoder.rate
    sizes = window_sizes(n_frames, one.decoder.lag_frames)
    assert len(sizes) > 3
    ends = [min(n_frames, end + one.flow.lag_frames) for end in itertools.accumulate(sizes)]
    taken = [end - start for start, end in itertools.pairwise([0, *ends])]
    latent = [noise(number, (192, n_taken)) for number, n_taken in enumerate(taken, 1) if n_taken]
    whole = Runtime().session(voices.with_fed_noise().SerializeToString())
    (expected,) = whole.run(
        piper_inputs(ids, scales)
        | {"duration_noise": noise(0, (1, 2, len(ids)))}
        | {"latent_noise": np.concatenate(latent, axis=1)[np.newaxis]}
    )
    assert snr_db(expected.reshape(-1), samples) > EXACT_DB


def test_two_renderings_at_once_keep_apart(one: Cut) -> None:
    ids, scales = voices.ids(30), Scales(noise=0.6, length=1.0, noise_w=0.8)
    alone = [list(one.model.render(ids, scales, None, (seed,)).windows()) for seed in (1, 2)]
    model = one.model
    pair = [model.render(ids, scales, None, (seed,)).windows() for seed in (1, 2)]
    together = list(itertools.zip_longest(*pair, fillvalue=np.zeros(0, np.float32)))
    for number, windows in enumerate(alone):
        mixed = np.concatenate([window[number] for window in together])
        assert np.array_equal(np.concatenate(windows), mixed)


@pytest.mark.parametrize("n_phonemes", [1, 40])
@pytest.mark.parametrize("speaker", [0, 1])
def test_each_speaker_of_a_cut_graph_is_the_whole_ones(two: Cut, speaker: int, n_phonemes: int) -> None:
    ids = voices.ids(n_phonemes)
    (whole,) = two.whole.run(piper_inputs(ids, SILENT, speaker))
    samples = np.concatenate(list(two.model.render(ids, SILENT, speaker, (0,)).windows()))
    assert snr_db(whole.reshape(-1), samples) > EXACT_DB


def test_the_speaker_is_heard_in_each_part(two: Cut) -> None:
    ids = voices.ids(40)
    latents = [two.latent(ids, speaker) for speaker in (0, 1)]
    assert latents[0].shape != latents[1].shape  # they speak at their own pace
    decoded = [two.windowed(latents[0], lambda: itertools.repeat(64), speaker) for speaker in (0, 1)]
    assert snr_db(*decoded) < 10


def test_a_speaker_that_is_not_there_is_an_error(two: Cut) -> None:
    with pytest.raises(Exception, match="indices element out of data bounds"):
        two.model.render(voices.ids(5), SILENT, 2, (0,))


def test_a_graph_without_the_latents_noise_cannot_be_cut() -> None:
    with pytest.raises(cut.CannotCut, match="1 sources of noise, 0 of them latent"):
        cut.cut(onnx.load_model_from_string(voices.without_noise()))


def test_another_graph_cannot_be_cut() -> None:
    node = helper.make_node("Identity", ["input"], ["output"])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "output")]
    graph = helper.make_graph([node], "other", value[:1], value[1:])
    with pytest.raises(cut.CannotCut, match="0 sources of noise"):
        cut.cut(helper.make_model(graph))


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("Conv", {"kernel_shape": [3], "pads": [2, 0], "strides": [1], "dilations": [1]}, "not centred"),
        ("Conv", {"kernel_shape": [3], "pads": [1, 1], "strides": [2], "dilations": [1]}, "not centred"),
        (
            "ConvTranspose",
            {"kernel_shape": [9], "pads": [0, 0], "strides": [4], "dilations": [1]},
            "no plain upsampling",
        ),
        ("Softmax", {"axis": 2}, "Softmax 'odd' is not known"),
    ],
)
def test_what_cannot_be_windowed_is_named(op: str, attributes: dict[str, Any], message: str) -> None:
    kernel = attributes.get("kernel_shape", [9])[0]
    weights = helper.make_tensor("w", TensorProto.FLOAT, (1, 1, kernel), [0.0] * kernel)
    inputs = ["z", "w"] if op.startswith("Conv") else ["z"]
    node = helper.make_node(op, inputs, ["audio"], name="odd", **attributes)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, None]) for name in ("z", "audio")]
    graph = helper.make_graph([node], "odd", values[:1], values[1:], [weights])
    with pytest.raises(carry.CannotCarry, match=message):
        carry.carry(helper.make_model(graph), "z")


def test_a_graph_that_is_run_whole_speaks() -> None:
    whole = WholeModel(Runtime().session(voices.without_noise()))
    (samples,) = whole.render(voices.ids(20), SILENT, None, (0,)).windows()
    assert np.isfinite(samples).all()
    assert len(samples) > 10_000
