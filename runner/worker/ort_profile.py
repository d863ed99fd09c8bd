"""What ONNX Runtime executed, from its profiler's events: which kernels, on which types, and quantisation left over.

https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html describes the file; a kernel's event
carries the types and shapes of its inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from runner.protocol import Finding
from runner.worker import arithmetic
from runner.worker.arithmetic import Work

Event = dict[str, Any]
Tensor = tuple[str, list[int]]
"""A tensor's type and its shape."""

WEIGHT_INPUT = {
    **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger"), 1),
    **dict.fromkeys(("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger"), 1),
    **dict.fromkeys(("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
"""Operators that do nearly all of a network's arithmetic, and which input holds the weights or the right matrix."""
INTEGER = frozenset({"DynamicQuantizeMatMul"})
"""Those that compute in integers although their input is floating point."""
PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}


def precision(asked: str, events: Sequence[Event]) -> Finding:
    """Tell in which precision the convolutions and matrix products ran, and how many Q/DQ nodes were left unfused.

    Args:
        asked: fp32 or int8.
        events: of the profiler, of any number of runs.
    """
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    left = [event for event in kernels if event["args"]["op_name"] in ("QuantizeLinear", "DequantizeLinear")]
    duration = sum(event["dur"] for event in kernels)
    facts = {"qdq": float(len(left)), "qdq_share": sum(event["dur"] for event in left) / max(1, duration)}
    heavy = [event for event in kernels if event["args"]["op_name"] in WEIGHT_INPUT]
    counts = [_multiply_accumulates(event) for event in heavy]
    counted = all(count is not None for count in counts)
    works = [
        Work(
            _precision(event), float(event["dur"]) if count is None or not counted else count, event["args"]["op_name"]
        )
        for event, count in zip(heavy, counts, strict=True)
    ]
    unit = "multiply-accumulates" if counted else "their time"
    return arithmetic.precision(asked, works, unit, "ONNX Runtime's profiler", facts)


def _tensors(event: Event, which: str) -> list[Tensor]:
    return [(kind, shape) for one in event["args"].get(which, []) for kind, shape in one.items()]


def _precision(event: Event) -> str:
    if event["args"]["op_name"] in INTEGER:
        return "int8"
    inputs = _tensors(event, "input_type_shape")
    return PRECISIONS.get(inputs[0][0], inputs[0][0]) if inputs else "unknown"


def _multiply_accumulates(event: Event) -> float | None:
    """Return the multiply-accumulates of a kernel, None where the profiler does not show its weights' shape."""
    name = event["args"]["op_name"]
    inputs, outputs = _tensors(event, "input_type_shape"), _tensors(event, "output_type_shape")
    if len(inputs) <= WEIGHT_INPUT[name] or not outputs:
        return None
    weights, output = inputs[WEIGHT_INPUT[name]][1], outputs[0][1]
    if len(weights) < 2 or not output:
        return None
    if "Conv" in name:  # weights: outputs × inputs per group × kernel
        return math.prod(output) * math.prod(weights[1:])
    return math.prod(output) * inputs[0][1][-1]
