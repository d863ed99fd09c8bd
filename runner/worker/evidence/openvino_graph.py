"""The precision of an OpenVINO model's layers, from its graph after compilation, ``get_runtime_model()``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from runner.protocol import Finding
from runner.worker.evidence import arithmetic
from runner.worker.evidence.arithmetic import Work

PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
"""This program's names for OpenVINO's precisions."""
STORED_AS = {
    "i8": "int8_weights", "u8": "int8_weights", "i4": "int4_weights", "u4": "int4_weights", "f32": "fp32", "f16": "fp16"
}  # fmt: skip
"""This program's names for weights of OpenVINO's types."""
WITH_BODIES = frozenset({"If", "Loop", "TensorIterator"})
"""Layers whose own operations get_runtime_model() does not show."""
DEQUANTISED = "/DequantizationMultiply"
"""Suffix that OpenVINO appends to the name of an operation that it has converted to integers."""


@dataclass(frozen=True)
class LayerWork:
    """The convolutions and matrix products of a model before compilation."""

    macs: dict[str, float]
    """Multiply-accumulates by operation name."""
    aliases: dict[str, str]
    """For each name that a compiled layer may have, the name of its operation."""


def executed(precision: str, compiled: Any, work: LayerWork, *, expected: float, partial: bool = False) -> Finding:
    """Return the precision of a compiled model's compute-intensive layers.

    Args:
        precision: the requested precision.
        compiled: the compiled model.
        work: of the model before compilation.
        expected: multiply-accumulates of the model in the same unit, counted apart from OpenVINO; 0 if unknown.
        partial: whether a part was requested to remain in floating point.
    """
    works, unfused, hidden = [], 0, False
    remaining = dict(work.macs)
    for node in compiled.get_runtime_model().get_ops():  # in the order of execution
        info = node.get_rt_info()
        names = [name.removesuffix(DEQUANTISED) for name in info["originalLayersNames"].astype(str).split(",")]
        # A layer may have the name of the operation or that of the bias fused into it; it counts once.
        amount = sum(remaining.pop(found, 0.0) for found in {work.aliases.get(name, "") for name in names})
        executed_in, kernel = info["runtimePrecision"].astype(str), info["primitiveType"].astype(str)
        if executed_in == "f16" and kernel.endswith("_f32"):
            executed_in = (
                "f32"  # the weights are stored in 16 bits, as in an IR by default; the kernel computes in fp32
            )
        if amount:
            works.append(Work(PRECISIONS.get(executed_in, executed_in), amount, kernel))
        layer = info["layerType"].astype(str)
        unfused += layer == "FakeQuantize"
        hidden |= layer in WITH_BODIES
    source = "OpenVINO's get_runtime_model()"
    expected = max(expected, sum(work.macs.values())) if expected else 0.0  # an unknown total stays unknown
    unit, facts = "multiply-accumulates", {"qdq": float(unfused)}
    return arithmetic.precision(
        precision, works, unit, source, expected=expected, partial=partial, hidden=hidden, facts=facts
    )


def count_work(model: Any) -> LayerWork:
    """Return the multiply-accumulates of every convolution and matrix product of a model.

    A dynamic extent, for example of a model that generates text, counts as 1.
    """
    counts: dict[str, float] = {}
    aliases: dict[str, str] = {}
    for node in model.get_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        output, left, right = (
            [1 if extent.is_dynamic else extent.get_length() for extent in port.get_partial_shape()]
            for port in (node.output(0), node.input(0), node.input(1))
        )
        if kind == "MatMul":
            inner = left[-2 if node.get_attributes()["transpose_a"] else -1]
        else:  # weights: (groups ×) outputs × inputs × kernel
            inner = math.prod(right[1 if kind == "Convolution" else 2 :])
        counts[name] = float(math.prod(output) * inner)
        aliases |= dict.fromkeys(_names(node), name)
    return LayerWork(counts, aliases)


def _names(node: Any) -> list[str]:
    """Return an operation's name, and those of the scale and the bias that follow it and may be fused into it."""
    names = [node.get_friendly_name()]
    for expected in ("Multiply", "Add"):
        uses = [use.get_node() for use in node.output(0).get_target_inputs()]
        if len(uses) == 1 and uses[0].get_type_name() == expected:
            [node] = uses
            names.append(node.get_friendly_name())
    return names


def weights_precision(requested: str, model: Any, compiled: Any) -> Finding:
    """Return the types of the weights with which a compiled model multiplies, as shares of their number.

    By default, NNCF stores the last layer, and the embedding that shares its weights, in 8 bits, whatever is requested:
    it does not count for 4 bits. A plugin that lacks a kernel decompresses weights when it compiles, into fp32.

    Args:
        requested: the requested precision.
        model: before compilation: it tells which weights there are.
        compiled: the compiled model.
    """
    stored: dict[str, float] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            constant = _constant_behind(node.input_value(1).get_node())
            if constant is not None:
                stored[node.get_friendly_name()] = float(math.prod(constant.get_output_shape(0)))
    if requested == "int4_weights" and len(stored) > 1:
        stored.popitem()
    works, remaining = [], dict(stored)
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        names = info["originalLayersNames"].astype(str).split(",")
        if amount := sum(remaining.pop(name, 0.0) for name in names):
            kind = node.input(1).get_element_type().get_type_name()
            works.append(Work(STORED_AS.get(kind, kind), amount, info["primitiveType"].astype(str)))
    source = "OpenVINO's get_runtime_model()"
    return arithmetic.precision(requested, works, "weights", source, expected=sum(stored.values()))


def _constant_behind(node: Any) -> Any:
    """Return the constant from which an operation's weights are derived, None if they are computed."""
    for _ in range(8):  # conversion, zero point, scale and reshape: fewer than eight nodes
        if node.get_type_name() == "Constant":
            return node
        if node.get_type_name() not in ("Convert", "Multiply", "Subtract", "Reshape", "Transpose"):
            return None
        node = node.input_value(0).get_node()
    return None
