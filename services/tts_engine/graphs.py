"""What every rewriting of an ONNX graph needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper


def like(
    source: ModelProto,
    nodes: Iterable[NodeProto],
    inputs: Iterable[ValueInfoProto],
    outputs: Iterable[ValueInfoProto],
    constants: Iterable[TensorProto] = (),
) -> ModelProto:
    """A model of `nodes`, with those of the weights of `source` that they use, and with `constants`."""
    kept = list(nodes)
    used = {name for node in kept for name in node.input}
    weights = [tensor for tensor in source.graph.initializer if tensor.name in used]
    graph = helper.make_graph(kept, source.graph.name, list(inputs), list(outputs), [*weights, *constants])
    return helper.make_model(graph, opset_imports=source.opset_import, ir_version=source.ir_version)


def copy_of(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def options_of(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
