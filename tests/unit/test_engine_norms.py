"""Layer normalisation in one node, against the nine that it stands for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tts_engine import cut
from tts_engine.norms import norms
from tts_engine.runtime import Runtime

from tests import voices

CHANNELS = 6


def written_out(axis: int = -1, *, mean_of: str = "x") -> ModelProto:
    random = np.random.default_rng(1)
    constants = {
        "two": np.array(2, np.float32),
        "epsilon": np.array(1e-5, np.float32),
        "gamma": random.standard_normal(CHANNELS, np.float32),
        "beta": random.standard_normal(CHANNELS, np.float32),
    }
    nodes = [
        helper.make_node("Abs", ["x"], ["other"]),
        helper.make_node("ReduceMean", [mean_of], ["mean"], axes=[axis]),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Pow", ["centred", "two"], ["squared"]),
        helper.make_node("ReduceMean", ["squared"], ["variance"], axes=[axis]),
        helper.make_node("Add", ["variance", "epsilon"], ["shifted"]),
        helper.make_node("Sqrt", ["shifted"], ["deviation"]),
        helper.make_node("Div", ["centred", "deviation"], ["normal"]),
        helper.make_node("Mul", ["normal", "gamma"], ["scaled"]),
        helper.make_node("Add", ["scaled", "beta"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n", CHANNELS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def ops(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_one_node_gives_the_same() -> None:
    model = written_out()
    fused = norms(model)
    assert ops(fused) == ["LayerNormalization"]
    x = np.random.default_rng(2).standard_normal((1, 9, CHANNELS), np.float32)
    (expected,), (got,) = (
        Runtime().session(each.SerializeToString()).run({"x": x}) for each in (model, fused)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(written_out(axis=1), id="another axis"),
        pytest.param(written_out(mean_of="other"), id="another mean"),
    ],
)
def test_what_is_no_norm_stays(model: ModelProto) -> None:
    assert "LayerNormalization" not in ops(norms(model))


def test_all_norms_of_a_voice_are_found() -> None:
    encoder = cut.cut(onnx.load(voices.MODEL)).encoder
    fused = ops(norms(encoder))
    assert fused.count("LayerNormalization") == 36
    assert fused.count("Sqrt") == ops(encoder).count("Sqrt") - 36
