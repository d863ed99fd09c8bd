"""ONNX graphs. They are data: nothing in them is executed to read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.worker.evidence import onnx_work
from runner.worker.failures import Refused
from runner.worker.subjects.files.model_file import FIELD, ModelFile
from runner.worker.subjects.subject import Port

SUFFIX = ".onnx"
BASELINE = "ort"
QUANTISED = re.compile(
    r"QuantizeLinear|DequantizeLinear|DynamicQuantize\w+|QLinear\w+|QGemm|QAttention|QOrdered\w+|QMoE|QEmbed\w+"
    r"|(?:MatMul|Conv)Integer\w*|MatMulNBits|MatMulBnb4|GatherBlockQuantized"
)
"""Names of the operators of a graph that is quantised already, of ONNX and of ONNX Runtime."""


def open_model(path: Path) -> ModelFile:
    """Return what a graph holds; its weights are not loaded.

    Raises:
        Refused: it is damaged, lacks the file with its weights, or has inputs that are no tensors of numbers.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise Refused(FIELD, path, "an ONNX file", f"It is truncated, or no ONNX: {error}") from error
    graph = model.graph
    if not graph.node or not graph.output:
        raise Refused(FIELD, path, "an ONNX file", "It holds no graph: it is truncated, or no ONNX")
    files = [path]
    for location in sorted({place for part in _graphs(graph) for place in _external(part)}):
        weights = path.parent / location
        if not weights.is_file():
            raise Refused(FIELD, path, f"a file with its weights, {location}, beside it", "Copy that file there too")
        files.append(weights)
    stored = {one.name for one in graph.initializer}
    sizes = [(one.data_type, math.prod(one.dims)) for part in _graphs(graph) for one in _stored(part)]
    opsets = (f"opset {one.version}{f' of {one.domain}' if one.domain else ''}" for one in model.opset_import)
    return ModelFile(
        kind="onnx",
        title=f"ONNX, {', '.join(opsets)}",
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        files=tuple(files),
        inputs=tuple(_port(value, path) for value in graph.input if value.name not in stored),
        outputs=tuple(_port(value, path) for value in graph.output),
        parameters=sum(size for _, size in sizes),
        precision=_precision(graph, sizes),
        count=lambda shapes: onnx_work.count(model, shapes),
    )


def _precision(graph: Any, sizes: list[tuple[int, int]]) -> str:
    """Return the precision of a graph.

    Args:
        graph: the graph.
        sizes: for each stored tensor, its type and its number of elements.
    """
    from onnx import TensorProto

    if any(QUANTISED.fullmatch(node.op_type) for part in _graphs(graph) for node in part.node):
        return "int8"
    total = sum(size for _, size in sizes)
    for kind, name in ((TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")):
        if 2 * sum(size for stored, size in sizes if stored == kind) > total:
            return name
    return "fp32"


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph, and those within its nodes: the branches of an If, the body of a Loop."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)


def _stored(graph: Any) -> Iterator[Any]:
    """Yield the tensors that a graph stores: initializers, and constants as some exporters write them."""
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def _external(graph: Any) -> Iterator[str]:
    """Yield the locations of weights that lie in other files."""
    for tensor in _stored(graph):
        for entry in tensor.external_data:
            if entry.key == "location":
                yield entry.value


def _port(value: Any, path: Path) -> Port:
    import onnx

    if not value.type.HasField("tensor_type"):
        raise Refused(FIELD, path, "inputs and outputs that are tensors", f"{value.name} is a sequence or a map")
    tensor = value.type.tensor_type
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError as error:
        raise Refused(FIELD, path, "tensors of numbers", f"{value.name} has an unknown type") from error
    if dtype == "object":
        raise Refused(FIELD, path, "tensors of numbers", f"{value.name} holds strings")
    extents = tuple(
        one.dim_value if one.HasField("dim_value") and one.dim_value > 0 else one.dim_param or f"{value.name}_{axis}"
        for axis, one in enumerate(tensor.shape.dim)
    )
    return Port(value.name, dtype, extents)
