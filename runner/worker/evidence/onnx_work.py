"""The multiply-accumulates of an ONNX graph, from the shapes that ONNX infers: apart from any runtime.

https://onnx.ai/onnx/operators/ defines the operators' inputs.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

Extents = Mapping[str, tuple[int, ...]]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Recurrent operators, and the products per hidden unit and step."""
NOT_COUNTED = frozenset({"Attention", "Einsum", "DeformConv", "STFT", "DFT"})
"""Operators of ONNX with products that this module cannot count: a graph with one has no known total."""
STANDARD = frozenset({"", "ai.onnx"})
"""Names of ONNX's own domain. An operator of another one may hide products: a graph with one has no known total, unless
it is among COUNTERS or WITHOUT_PRODUCTS."""
WITHOUT_PRODUCTS = frozenset(
    {
        *("Gelu", "FastGelu", "QuickGelu", "BiasGelu", "BiasAdd", "LayerNormalization", "SimplifiedLayerNormalization"),
        *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "QuantizeLinear", "DequantizeLinear"),
        *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearConcat", "QLinearSoftmax"),
        *("QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearReduceMean", "EmbedLayerNormalization"),
    }
)
"""Operators of other domains (ONNX Runtime's) that only work element by element, or look up and average."""


def count(model: Any, inputs: Extents) -> float:
    """Return the multiply-accumulates of a graph for inputs of given shapes; 0 if they are not known.

    Args:
        model: an ``onnx.ModelProto``; external data need not be loaded.
        inputs: shapes of the inputs by name.
    """
    import onnx

    shaped = onnx.ModelProto()
    shaped.CopyFrom(model)
    for value in shaped.graph.input:
        if value.name in inputs:
            for dimension, extent in zip(value.type.tensor_type.shape.dim, inputs[value.name], strict=True):
                dimension.dim_value = extent
    del shaped.graph.value_info[:]  # the exporter's may contain symbols
    for value in shaped.graph.output:
        value.type.tensor_type.ClearField("shape")
    total = _total(onnx.shape_inference.infer_shapes(shaped, data_prop=True).graph)
    if total is None:
        total = _total(_infer_symbolically(shaped))
    return total or 0.0


def _infer_symbolically(model: Any) -> Any:
    """Return the graph with the shapes that ONNX Runtime's script infers: it also follows shapes through arithmetic."""
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    try:  # inference that fails leaves a file in the current folder
        with tempfile.TemporaryDirectory(prefix="runner-shapes-") as folder, contextlib.chdir(folder):
            return SymbolicShapeInference.infer_shapes(model, auto_merge=True).graph
    except Exception as error:  # it fails in its own ways on operators that it does not know
        log.info("shapes could not be inferred symbolically: %r", error)
        return model.graph


def _total(graph: Any) -> float | None:
    """Return the multiply-accumulates of a graph with shapes; None if those of a node are not known."""
    known = {one.name: tuple(one.dims) for one in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        extents = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        if value.type.tensor_type.HasField("shape") and all(extents):
            known[value.name] = extents
    counts = [_count(node, known) for node in graph.node]
    return None if None in counts else math.fsum(one for one in counts if one is not None)


def _count(node: Any, known: Extents) -> float | None:
    """Return the multiply-accumulates of a node, None if they are not known; 0 for a node without products."""
    if node.op_type in NOT_COUNTED or any(attribute.HasField("g") for attribute in node.attribute):
        return None
    counter = COUNTERS.get(node.op_type)
    if counter is None:
        return 0.0 if node.domain in STANDARD or node.op_type in WITHOUT_PRODUCTS else None
    try:
        return float(counter(node, known))
    except (KeyError, IndexError):  # a shape that could not be inferred
        return None


def _convolution(node: Any, known: Extents) -> float:
    weights = known[node.input[3 if node.op_type == "QLinearConv" else 1]]
    return math.prod(known[node.output[0]]) * math.prod(weights[1:])


def _transposed_convolution(node: Any, known: Extents) -> float:
    return math.prod(known[node.input[0]]) * math.prod(known[node.input[1]][1:])


def _product(node: Any, known: Extents) -> float:
    return math.prod(known[node.output[0]]) * known[node.input[0]][-1]


def _gemm(node: Any, known: Extents) -> float:
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(known[node.output[0]]) * known[node.input[0]][0 if transposed else -1]


def _recurrent(node: Any, known: Extents) -> float:
    """Count an operator with an input of steps × batch × width, and weights of directions × gates · hidden × hidden."""
    steps, batch, width = known[node.input[0]]
    directions, _, hidden = known[node.input[2]]
    return steps * batch * directions * GATES[node.op_type] * hidden * (width + hidden)


COUNTERS: dict[str, Callable[[Any, Extents], float]] = {
    **dict.fromkeys(("Conv", "QLinearConv", "ConvInteger", "FusedConv"), _convolution),
    "ConvTranspose": _transposed_convolution,
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulNBits"), _product),
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **dict.fromkeys(GATES, _recurrent),
}
