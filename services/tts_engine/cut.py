"""Cut a VITS graph where its time axis changes: phonemes on one side, frames on the other.

    ids ─▶ encoder ─▶ means, log-deviations, durations ─▶ (regulation, noise) ─▶ z ─▶ flow ─▶ frames ─▶
    decoder ─▶ samples

The encoder needs the whole utterance; the flow and the decoder (a HiFi-GAN) are convolutions only, and can be
fed a few frames at a time (`carry`). Length regulation and noise are a repeat and a sum, in `model`.

The places to cut are found by what the nodes do, not by their names, which differ between exports:

    m, logs ─Transpose─MatMul(path)─Transpose─┐           RandomNormalLike: the latent noise
                                              ├─ Add = z      Ceil: the durations in frames
    RandomNormalLike · exp(logs) · scale ─────┘

Source of the layout: VITS (Kim et al. 2021, arXiv:2106.06103), as exported by Piper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tts_engine.graphs import copy_of, like

ENCODER_OUTPUTS = ("means", "log_deviations", "durations")
DURATION_NOISE = "duration_noise"
LATENT = "z"
FRAMES = "frames"
AUDIO = "audio"


class CannotCut(Exception):
    """The graph is no VITS graph as Piper exports it; the message says what is missing."""


@dataclass(frozen=True)
class Parts:
    """The three parts of a voice.

    `encoder`: `input` (1, T) int64, `input_lengths` (1,), `scales` (3,) as in Piper, [`sid` (1,)],
    `duration_noise` (1, 2, T) float32 → `means`, `log_deviations` (1, C, T), `durations` (1, 1, T) in frames.
    `flow`: `z` (1, C, F) [, `sid`] → `frames` (1, D, F). `decoder`: `frames` [, `sid`] → `audio`
    (1, 1, samples).
    """

    encoder: ModelProto
    flow: ModelProto
    decoder: ModelProto


class _Graph:
    """A graph with an index of who makes and who takes each tensor."""

    def __init__(self, graph: GraphProto) -> None:
        self.proto = graph
        self.maker = {output: node for node in graph.node for output in node.output}
        self.takers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.takers[name].append(node)
        self.constants = {tensor.name for tensor in graph.initializer}
        self.constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}

    def made_by(self, tensor: str, op: str) -> NodeProto:
        node = self.maker.get(tensor)
        if node is None or node.op_type != op:
            raise CannotCut(f"{tensor!r} is made by {node.op_type if node else 'nothing'}, not by {op}")
        return node

    def taker(self, tensor: str, op: str) -> NodeProto:
        nodes = [node for node in self.takers[tensor] if node.op_type == op]
        if len(nodes) != 1:
            raise CannotCut(f"{len(nodes)} nodes {op} take {tensor!r}, not one")
        return nodes[0]

    def before(self, tensors: Iterable[str], stop: Iterable[str] = ()) -> list[NodeProto]:
        """The nodes that make `tensors`, in the graph's order, without what makes `stop`."""
        wanted, found, stops = list(tensors), set[str](), set(stop)
        while wanted:
            tensor = wanted.pop()
            node = self.maker.get(tensor)
            if node is None or tensor in stops or node.output[0] in found:
                continue
            found.add(node.output[0])
            wanted.extend(node.input)
        return [node for node in self.proto.node if node.output[0] in found]


def cut(model: ModelProto) -> Parts:
    """Raises CannotCut."""
    graph = _Graph(model.graph)
    noises = [node for node in model.graph.node if node.op_type == "RandomNormalLike"]
    latent_noises = [node for node in noises if _scaled_by_exp(graph, node)]
    if len(noises) != 2 or len(latent_noises) != 1:
        raise CannotCut(f"{len(noises)} sources of noise, {len(latent_noises)} of them latent, not 2 and 1")
    (latent,) = latent_noises
    (duration,) = [node for node in noises if node is not latent]
    deviation = graph.taker(latent.output[0], "Mul")
    scaled = graph.taker(deviation.output[0], "Mul")
    z = graph.taker(scaled.output[0], "Add")
    exponent = next(graph.maker[name] for name in deviation.input if name != latent.output[0])
    means = _before_regulation(graph, next(name for name in z.input if name != scaled.output[0]))
    log_deviations = _before_regulation(graph, exponent.input[0])
    durations = _durations(graph)
    encoder = _encoder(model, graph, duration.output[0], (means, log_deviations, durations))
    return Parts(encoder, *_in_two(_from_latent(model, graph, z.output[0], _channels(encoder))))


def _channels(model: ModelProto) -> int:
    """Of its first output."""
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim
    if len(inferred) != 3 or not inferred[1].dim_value:
        raise CannotCut(f"the number of channels of {model.graph.output[0].name!r} is not known")
    return inferred[1].dim_value


def _scaled_by_exp(graph: _Graph, noise: NodeProto) -> bool:
    products = [node for node in graph.takers[noise.output[0]] if node.op_type == "Mul"]
    makers = [graph.maker.get(name) for node in products for name in node.input]
    return any(node is not None and node.op_type == "Exp" for node in makers)


def _before_regulation(graph: _Graph, regulated: str) -> str:
    """What was stretched from phonemes to frames: Transpose(MatMul(path, Transpose(it)))."""
    product = graph.made_by(graph.made_by(regulated, "Transpose").input[0], "MatMul")
    return graph.made_by(product.input[1], "Transpose").input[0]


def _durations(graph: _Graph) -> str:
    ceils = [node.output[0] for node in graph.proto.node if node.op_type == "Ceil"]
    if len(ceils) != 1:
        raise CannotCut(f"{len(ceils)} nodes Ceil, not one that rounds the durations")
    return ceils[0]


def _encoder(model: ModelProto, graph: _Graph, noise: str, outputs: Sequence[str]) -> ModelProto:
    nodes = list(map(copy_of, graph.before(outputs, stop=[noise])))
    for node in nodes:
        _rename(node, {noise: DURATION_NOISE, **dict(zip(outputs, ENCODER_OUTPUTS, strict=True))})
    inputs = [*_needed(model.graph.input, nodes), _info(DURATION_NOISE, (1, 2, "phonemes"))]
    return like(model, nodes, inputs, [_info(name) for name in ENCODER_OUTPUTS])


def _from_latent(model: ModelProto, graph: _Graph, z: str, channels: int) -> ModelProto:
    """Everything from z to the audio. The masks of padding, all ones in a batch of one, are left out."""
    output = model.graph.output[0].name
    before = graph.before([output], stop=[z])
    framed = _after(before, {z})
    fed = {value.name for value in model.graph.input} - {"sid"} - graph.constants
    # The speaker, and what is constant.
    timeless = {node.output[0] for node in before} - _after(before, fed) - framed
    nodes: list[NodeProto] = []
    fills: list[TensorProto] = []
    for node in before:
        made = node.output[0]
        if made in timeless:
            nodes.append(node)
        elif made not in framed or node.op_type == "Shape":
            continue
        elif node.op_type == "ConstantOfShape":
            fills.append(_fill(node))
        elif node.op_type == "Unsqueeze" and made == output:
            nodes.append(helper.make_node("Identity", node.input[:1], node.output))
        else:
            nodes.append(_unmasked(node, {z, "", *framed, *timeless, *graph.constants}))
    nodes = list(map(copy_of, nodes))
    for node in nodes:
        _rename(node, {z: LATENT, output: AUDIO})
    inputs = [_info(LATENT, (1, channels, "frames")), *_needed(model.graph.input, nodes)]
    return like(model, nodes, inputs, [_info(AUDIO)], fills)


def _in_two(model: ModelProto) -> tuple[ModelProto, ModelProto]:
    """Cut before the first upsampling: what is before it is of the frames' rate."""
    graph = _Graph(model.graph)
    upsampling = next((node for node in model.graph.node if node.op_type == "ConvTranspose"), None)
    if upsampling is None:
        raise CannotCut("no node ConvTranspose makes samples of frames")
    frames = upsampling.input[0]
    flow = list(map(copy_of, graph.before([frames])))
    decoder = list(map(copy_of, graph.before([AUDIO], stop=[frames])))
    for node in (*flow, *decoder):
        _rename(node, {frames: FRAMES})
    first = like(model, flow, _needed(model.graph.input, flow), [_info(FRAMES)])
    info = _info(FRAMES, (1, _channels(first), "frames"))
    second = like(model, decoder, [info, *_needed(model.graph.input, decoder)], model.graph.output)
    return first, second


def _after(nodes: Iterable[NodeProto], tensors: set[str]) -> set[str]:
    """What is made from `tensors`, by way of `nodes` in the graph's order."""
    reached = set(tensors)
    for node in nodes:
        if reached & set(node.input):
            reached.update(node.output)
    return reached - tensors


def _unmasked(node: NodeProto, known: set[str]) -> NodeProto:
    strangers = [name for name in node.input if name not in known]
    if not strangers:
        return node
    if node.op_type != "Mul" or len(strangers) != 1:
        raise CannotCut(
            f"{node.op_type} {node.name!r} after the latent takes {strangers[0]!r} from before it"
        )
    kept = [name for name in node.input if name != strangers[0]]
    return helper.make_node("Identity", kept, node.output)


def _fill(node: NodeProto) -> TensorProto:
    """A tensor of one value, whatever its shape, as a constant that broadcasts to that shape."""
    value = numpy_helper.to_array(node.attribute[0].t) if node.attribute else np.zeros(1, np.float32)
    return numpy_helper.from_array(value.reshape(1, 1, 1), node.output[0])


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    for tensors in (node.input, node.output):
        for index, name in enumerate(tensors):
            tensors[index] = names.get(name, name)


def _needed(inputs: Iterable[ValueInfoProto], nodes: Iterable[NodeProto]) -> list[ValueInfoProto]:
    used = {name for node in nodes for name in node.input}
    return [value for value in inputs if value.name in used]


def _info(name: str, shape: Sequence[int | str] | None = None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
