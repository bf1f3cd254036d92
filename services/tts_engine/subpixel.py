"""Upsampling as a convolution at the lower rate, whose channels are then dealt out in time.

    frames (1, in, n) ─Conv, 2 taps─▶ (1, stride · out, n + 1) ─deal out─▶ samples (1, out, stride · (n + 1))

Where a transposed convolution's kernel is twice its stride, each sample comes from two frames: the `stride`
samples between two frames are as many channels of a convolution with two taps. The sums are the same, and
faster: measured on Piper's medium voices, the decoder takes 3 % less in onnxruntime, and 30 % less in
OpenVINO, which has no bf16 kernel for a transposed convolution.

Source: the sub-pixel convolution of Shi et al. 2016, arXiv:1609.05158 and arXiv:1609.07009.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tts_engine.graphs import like, options_of


def subpixel(model: ModelProto) -> ModelProto:
    """`model` without the transposed convolutions that have two taps for each sample; others stay."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    constants: dict[str, TensorProto] = {}
    for node in model.graph.node:
        if _has_two_taps(node) and all(name in weights for name in node.input[1:]):
            arrays = [numpy_helper.to_array(weights[name]) for name in node.input[1:]]
            added, made = _dealt_out(node, arrays[0], arrays[1:])
            nodes.extend(added)
            constants.update((tensor.name, tensor) for tensor in made)
        else:
            nodes.append(node)
    return like(model, nodes, model.graph.input, model.graph.output, constants.values())


def _has_two_taps(node: NodeProto) -> bool:
    if node.op_type != "ConvTranspose":
        return False
    options = options_of(node)
    kernel, strides = options.get("kernel_shape", [0]), options.get("strides", [1])
    plain = {"pads": [0, 0], "dilations": [1], "group": 1, "output_padding": [0]}
    return kernel == [2 * strides[0]] and all(
        options.get(name, value) == value for name, value in plain.items()
    )


def _dealt_out(
    node: NodeProto, weights: npt.NDArray[Any], bias: list[npt.NDArray[Any]]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """`weights`: (in, out, 2 · stride): first a frame's own taps, then those of the frame before it."""
    (output,) = node.output
    channels_in, channels, kernel = weights.shape
    stride = kernel // 2
    taps = weights.reshape(channels_in, channels, 2, stride)[:, :, ::-1].transpose(3, 1, 0, 2)
    tensors = {
        "weights": taps.reshape(stride * channels, channels_in, 2),
        "split": np.array([1, stride, channels, -1], np.int64),
        "joined": np.array([1, channels, -1], np.int64),
    }
    if bias:
        tensors["bias"] = np.tile(bias[0], stride)
    names = {key: f"{output}/{key}" for key in tensors}
    steps = [
        ("Conv", [node.input[0], names["weights"], *([names["bias"]] if bias else [])], "/phases"),
        ("Reshape", [f"{output}/phases", names["split"]], "/apart"),
        ("Transpose", [f"{output}/apart"], "/turned"),
        ("Reshape", [f"{output}/turned", names["joined"]], ""),
    ]
    options: dict[str, dict[str, Any]] = {
        "Conv": {"kernel_shape": [2], "pads": [1, 1], "strides": [1], "dilations": [1], "group": 1},
        "Transpose": {"perm": [0, 2, 3, 1]},
    }
    nodes = [
        helper.make_node(op, inputs, [output + made], name=output + made, **options.get(op, {}))
        for op, inputs, made in steps
    ]
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(values), names[key]) for key, values in tensors.items()
    ]
    return nodes, constants
