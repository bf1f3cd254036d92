"""Upsampling as a convolution, against the transposed convolution it stands for."""

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tts_engine.runtime import Runtime
from tts_engine.subpixel import subpixel

CHANNELS_IN, CHANNELS_OUT = 6, 4


def upsampling(stride: int, kernel: int, *, bias: bool = True, pads: int = 0) -> ModelProto:
    random = np.random.default_rng(1)
    constants = {"weights": random.standard_normal((CHANNELS_IN, CHANNELS_OUT, kernel), np.float32)}
    if bias:
        constants["bias"] = random.standard_normal(CHANNELS_OUT, np.float32)
    node = helper.make_node(
        "ConvTranspose",
        ["x", *constants],
        ["y"],
        kernel_shape=[kernel],
        strides=[stride],
        pads=[pads, pads],
    )
    graph = helper.make_graph(
        [node],
        "upsampling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS_IN, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def run(model: ModelProto, n_frames: int) -> npt.NDArray[np.float32]:
    x = np.random.default_rng(2).standard_normal((1, CHANNELS_IN, n_frames), np.float32)
    return Runtime().session(model.SerializeToString()).run({"x": x})[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_frames", [1, 2, 17])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_the_same_samples(stride: int, n_frames: int, bias: bool) -> None:
    model = upsampling(stride, 2 * stride, bias=bias)
    replaced = subpixel(model)
    assert "ConvTranspose" not in [node.op_type for node in replaced.graph.node]
    np.testing.assert_allclose(run(replaced, n_frames), run(model, n_frames), atol=1e-5)


@pytest.mark.parametrize(("stride", "kernel", "pads"), [(4, 6, 0), (4, 12, 0), (4, 8, 2)])
def test_what_is_no_two_taps_stays(stride: int, kernel: int, pads: int) -> None:
    model = upsampling(stride, kernel, pads=pads)
    assert subpixel(model).graph == model.graph
