"""Operations that ONNX Runtime executed, from its profiler's events: kernels, types, and unfused quantisation nodes.

https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html describes the file; a kernel's event
contains the types and shapes of its inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from runner.protocol import Finding
from runner.worker.evidence import arithmetic
from runner.worker.evidence.arithmetic import Work

Event = dict[str, Any]
Tensor = tuple[str, list[int]]
"""A tensor's type and shape."""

WEIGHT_INPUT = {**dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger"), 1), "QLinearConv": 3}
"""Convolutions, and the index of the input that holds the weights."""
PRODUCTS = frozenset(
    {
        *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat"),
        *("DynamicQuantizeMatMul", "MatMulNBits", "QLinearMatMul", "QGemm"),
    }
)
"""Matrix products; together with convolutions they are nearly all of a network's arithmetic."""
ATTENTION = frozenset({"Attention", "QAttention", "MultiHeadAttention"})
"""Fused attention; Attention and QAttention include the projections to queries, keys and values."""
INTEGER_KERNELS = frozenset({"DynamicQuantizeMatMul", "QAttention"})
"""Kernels with floating-point inputs that compute in integers."""
PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}


def weight_shapes(graph: Any) -> dict[str, list[int]]:
    """Return the shapes of the convolutions' constant weights by node name, from the optimised graph.

    The profiler does not report the shape of packed weights.
    """
    shapes = {one.name: list(one.dims) for one in graph.initializer}
    found = {}
    for node in graph.node:
        index = WEIGHT_INPUT.get(node.op_type)
        if index is not None and node.input[index] in shapes:
            found[node.name] = shapes[node.input[index]]
    return found


def precision(
    requested: str, events: Sequence[Event], weights: Mapping[str, list[int]], *, expected: float, partial: bool = False
) -> Finding:
    """Report the executed precision of convolutions and matrix products, and the number of unfused Q/DQ nodes.

    Kernels whose multiply-accumulates cannot be counted are part of what was not observed.

    Args:
        requested: fp32, int8 or int8_dynamic.
        events: the profiler's events of one batch.
        weights: shapes of the convolutions' weights, see :func:`weight_shapes`.
        expected: multiply-accumulates of the batch, counted apart from ONNX Runtime; 0 if they are not known.
        partial: whether a part was requested to remain in floating point.
    """
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    unfused = [event for event in kernels if event["args"]["op_name"] in ("QuantizeLinear", "DequantizeLinear")]
    duration = sum(event["dur"] for event in kernels)
    facts = {"qdq": float(len(unfused)), "qdq_share": sum(event["dur"] for event in unfused) / max(1, duration)}
    operations = [event for event in kernels if event["args"]["op_name"] in WEIGHT_INPUT.keys() | PRODUCTS | ATTENTION]
    works = [
        Work(_precision(event), count, event["args"]["op_name"])
        for event in operations
        if (count := _multiply_accumulates(event, weights)) is not None
    ]
    source = "ONNX Runtime's profiler"
    unit = "multiply-accumulates"
    return arithmetic.precision(requested, works, unit, source, expected=expected, partial=partial, facts=facts)


def _tensors(event: Event, which: str) -> list[Tensor]:
    return [(kind, shape) for one in event["args"].get(which, []) for kind, shape in one.items()]


def _precision(event: Event) -> str:
    if event["args"]["op_name"] in INTEGER_KERNELS:
        return "int8"
    inputs = _tensors(event, "input_type_shape")
    return PRECISIONS.get(inputs[0][0], inputs[0][0]) if inputs else "unknown"


def _multiply_accumulates(event: Event, weights: Mapping[str, list[int]]) -> float | None:
    """Return the multiply-accumulates of a kernel, None if its shapes are unknown.

    The shape of a convolution's weights is outputs × inputs per group × kernel.
    """
    inputs, outputs = _tensors(event, "input_type_shape"), _tensors(event, "output_type_shape")
    if not inputs or not outputs:
        return None
    if event["args"]["op_name"] in PRODUCTS:
        return math.prod(outputs[0][1]) * inputs[0][1][-1]
    if event["args"]["op_name"] in ATTENTION:
        return _attention(event["args"]["op_name"], inputs, outputs)
    kernel = weights.get(event["name"].removesuffix("_kernel_time"))
    shown = inputs[WEIGHT_INPUT[event["args"]["op_name"]] :]
    if kernel is None and shown and len(shown[0][1]) > 2:  # weights computed at run time are not packed
        kernel = shown[0][1]
    return None if kernel is None else math.prod(outputs[0][1]) * math.prod(kernel[1:])


def _attention(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> float:
    """Return the multiply-accumulates of fused attention; its input and output are texts × tokens × width."""
    texts, tokens, width = inputs[0][1][:3]
    output_width = outputs[0][1][2]
    products = 2 * tokens * output_width  # with the keys, and with the values
    return float(texts * tokens * (products if name == "MultiHeadAttention" else products + 3 * width * output_width))
