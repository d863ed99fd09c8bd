"""Which operations of a graph ONNX Runtime's quantiser takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from runner.worker.converters.ort_int8 import activation_products, quantise, share_of_products

pytestmark = pytest.mark.slow
WIDTH = 8


def attention(path: Path, tokens: int = 1) -> Path:
    """Write a layer of attention: two products with weights, and two of activations; these grow with the tokens."""
    weights = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["query"], "query"),
        helper.make_node("Transpose", ["query"], ["key"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["query", "key"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], "softmax"),
        helper.make_node("MatMul", ["shares", "query"], ["context"], "context"),
        helper.make_node("MatMul", ["context", "weights"], ["y"], "out"),
    ]
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", tokens, WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "attention", shapes[:1], shapes[1:], [numpy_helper.from_array(weights, "weights")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_products_of_activations_are_found(tmp_path):
    """Those without a weight on either side."""
    assert activation_products(onnx.load(attention(tmp_path / "a.onnx")).graph) == ["scores", "context"]


@pytest.mark.parametrize(
    ("model_type", "tokens", "quantised"), [(None, 1, 2), ("transformer", 1, 2), ("other", 1, 4), (None, 64, 4)]
)
def test_products_of_activations_stay_in_float(tmp_path, model_type, tokens, quantised):
    """Unless the model is said to have no attention, or the texts are long: then too little would be in int8."""
    batches = [{"x": np.random.default_rng(1).standard_normal((2, tokens, WIDTH)).astype(np.float32)}]
    target = tmp_path / "int8.onnx"
    quantise(attention(tmp_path / "a.onnx", tokens), target, batches, reduce_range=False, model_type=model_type)
    graph = onnx.load(target).graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(products) == 4
    assert sum(all(made.get(name) == "DequantizeLinear" for name in node.input) for node in products) == quantised


def test_their_share_is_counted(tmp_path):
    """Of 4 tokens and a width of 8: twice 4 × 4 × 8 of activations, twice 4 × 8 × 8 with weights."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(attention(tmp_path / "a.onnx", 4))).graph
    assert share_of_products(graph, ["scores", "context"]) == pytest.approx(256 / (256 + 512))


def test_a_bias_of_one_row(tmp_path):
    """As JAX exports a dense layer: the quantiser fuses it to a Gemm with a bias of two dimensions."""
    generator = np.random.default_rng(0)
    stored = {"weights": (WIDTH, 5), "bias": (1, 5)}
    values = [
        numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        for name, shape in stored.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["product"], "dense"),
        helper.make_node("Add", ["product", "bias"], ["y"], "add"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in (("x", WIDTH), ("y", 5))
    ]
    graph = helper.make_graph(nodes, "dense", ends[:1], ends[1:], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "a.onnx")
    batch = {"x": generator.standard_normal((64, WIDTH)).astype(np.float32)}
    quantise(tmp_path / "a.onnx", tmp_path / "int8.onnx", [batch], reduce_range=False)
    found, exact = (InferenceSession(tmp_path / name).run(None, batch)[0] for name in ("int8.onnx", "a.onnx"))
    assert np.abs(found - exact).max() < 0.1
    assert [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node].count("Gemm") == 1
