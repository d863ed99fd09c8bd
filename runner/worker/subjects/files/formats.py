"""Model files: what an ONNX graph or an OpenVINO IR holds. Both are data: nothing in them is executed to read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.protocol import Inspected, PortInfo
from runner.worker.evidence import onnx_work, openvino_graph
from runner.worker.failures import Refused
from runner.worker.subjects.files.shapes import apply
from runner.worker.subjects.subject import BATCH, Port

FIELD = "model.path"
KINDS = {".onnx": "onnx", ".xml": "ir"}
"""Form of a file by its suffix."""
MIB = 2**20
QUANTISED = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulNBits"),
        *("QLinearConv", "QLinearMatMul", "QGemm", "MatMulInteger", "ConvInteger"),
    }
)
"""Operators of a graph that is quantised already."""


@dataclass(frozen=True)
class ModelFile:
    """An opened model file."""

    kind: str
    files: tuple[Path, ...]
    """The file itself, then those that hold its weights."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    version: str
    producer: str
    parameters: int
    precision: str
    model: Any
    """An ``onnx.ModelProto`` without its external data, or an ``openvino.Model``."""

    def macs_per_sample(self, filled: tuple[Port, ...]) -> float:
        """Return the multiply-accumulates of one sample; 0 if they are not known.

        Args:
            filled: the inputs, with no extent open but the batch.
        """
        shapes = {port.name: tuple(1 if extent == BATCH else int(extent) for extent in port.shape) for port in filled}
        if self.kind == "onnx":
            total = onnx_work.count(self.model, shapes)
        else:
            shaped = self.model.clone()
            shaped.reshape({name: list(shape) for name, shape in shapes.items()})
            total = math.fsum(openvino_graph.count_work(shaped).macs.values())
        return total / (fixed_batch(filled) or 1)


def open_file(path: Path) -> ModelFile:
    """Return what a model file holds.

    Raises:
        Refused: it does not exist, is of no known kind, is damaged, or lacks the file with its weights.
    """
    if not path.is_file():
        raise Refused(FIELD, path, "a file that exists", "Check the path")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise Refused(FIELD, path, f"a file ending in {' or '.join(KINDS)}", "Export the model to ONNX")
    if path.stat().st_size == 0:
        raise Refused(FIELD, path, "a model", "The file is empty")
    return _open_onnx(path) if kind == "onnx" else _open_ir(path)


def _open_onnx(path: Path) -> ModelFile:
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
    operators = {node.op_type for part in _graphs(graph) for node in part.node}
    sizes = [(one.data_type, math.prod(one.dims)) for part in _graphs(graph) for one in _stored(part)]
    halves = sum(size for kind, size in sizes if kind == onnx.TensorProto.FLOAT16)
    precision = "int8" if operators & QUANTISED else "fp16" if 2 * halves > sum(s for _, s in sizes) else "fp32"
    return ModelFile(
        kind="onnx",
        files=tuple(files),
        inputs=tuple(_onnx_port(value, path) for value in graph.input if value.name not in stored),
        outputs=tuple(_onnx_port(value, path) for value in graph.output),
        version=", ".join(
            f"opset {one.version}{f' of {one.domain}' if one.domain else ''}" for one in model.opset_import
        ),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        parameters=sum(size for _, size in sizes),
        precision=precision,
        model=model,
    )


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


def _onnx_port(value: Any, path: Path) -> Port:
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


def _open_ir(path: Path) -> ModelFile:
    from runner.worker.libraries import import_openvino

    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise Refused(FIELD, path, f"a file with its weights, {weights.name}, beside it", "Copy that file there too")
    openvino = import_openvino()
    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-160:]
        raise Refused(FIELD, path, "an OpenVINO IR", f"OpenVINO cannot read it: {reason}") from error
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    kinds = {node.get_element_type().get_type_name() for node in constants if math.prod(node.get_output_shape(0)) > 64}
    quantised = kinds & {"i8", "u8", "i4", "u4"} or any(
        one.get_type_name() == "FakeQuantize" for one in model.get_ops()
    )
    return ModelFile(
        kind="ir",
        files=(path, weights),
        inputs=tuple(_ir_port(port) for port in model.inputs),
        outputs=tuple(_ir_port(port) for port in model.outputs),
        version=f"IR version {_ir_version(path)}",
        producer="OpenVINO",
        parameters=sum(math.prod(node.get_output_shape(0)) for node in constants),
        precision="int8" if quantised else "fp32",  # weights stored in fp16 are decompressed: the graph is fp32
        model=model,
    )


def _ir_version(path: Path) -> str:
    """Return the version in the first element of an IR."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        found = re.search(r'<net\b[^>]*\bversion="(\d+)"', stream.read(10_000))
    return found.group(1) if found else "unknown"


def _ir_port(port: Any) -> Port:
    name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
    kinds = {"f32": "float32", "f16": "float16", "f64": "float64", "boolean": "bool", "i4": "int8", "u4": "uint8"}
    kind = port.get_element_type().get_type_name()
    dtype = kinds.get(kind, kind.replace("i", "int", 1) if kind[0] == "i" else kind.replace("u", "uint", 1))
    extents = tuple(
        f"{name}_{axis}" if one.is_dynamic else one.get_length() for axis, one in enumerate(port.get_partial_shape())
    )
    return Port(name, dtype, extents)


def inspect(path: Path, texts: list[str]) -> Inspected:
    """Describe a model file.

    Args:
        path: the file.
        texts: shapes of inputs, see :mod:`runner.worker.subjects.files.shapes`.

    Raises:
        Refused: the file or a shape cannot be used.
    """
    found = open_file(path)
    problem, batch, macs = "", None, 0.0
    try:
        filled, _ = apply(texts, found.inputs)
    except Refused as error:
        if error.mistake.received != "nothing":
            raise
        problem = str(error)
    else:
        batch = fixed_batch(filled)
        macs = found.macs_per_sample(filled)
    return Inspected(
        kind=found.kind,
        inputs=[_info(port) for port in found.inputs],
        outputs=[_info(port) for port in found.outputs],
        batch=batch,
        problem=problem,
        version=found.version,
        producer=found.producer,
        parameters=found.parameters,
        precision=found.precision,
        size_mib=sum(file.stat().st_size for file in found.files) / MIB,
        macs=macs,
    )


def fixed_batch(ports: tuple[Port, ...]) -> int | None:
    """Return the batch that inputs fix: the first extent of the first that has one; None if `batch_size` sets it."""
    if any(BATCH in port.shape for port in ports):
        return None
    return next((int(port.shape[0]) for port in ports if port.shape), 1)


def _info(port: Port) -> PortInfo:
    return PortInfo(port.name, port.dtype, list(port.shape))
