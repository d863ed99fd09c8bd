"""OpenVINO's IR. It is data: nothing in it is executed to read it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from runner.worker.evidence import openvino_graph
from runner.worker.failures import Refused
from runner.worker.libraries import import_openvino
from runner.worker.subjects.files.model_file import FIELD, Extents, ModelFile
from runner.worker.subjects.subject import Port

SUFFIX = ".xml"
BASELINE = "openvino"
MIN_WEIGHTS = 64
"""Constants of fewer elements are shapes and axes, not weights."""


def open_model(path: Path) -> ModelFile:
    """Return what an IR holds.

    Raises:
        Refused: it is damaged, or lacks the file with its weights.
    """
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise Refused(FIELD, path, f"a file with its weights, {weights.name}, beside it", "Copy that file there too")
    openvino = import_openvino()
    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-160:]
        raise Refused(FIELD, path, "an OpenVINO IR", f"OpenVINO cannot read it: {reason}") from error

    def count(shapes: Extents) -> float:
        shaped = model.clone()
        shaped.reshape({name: list(shape) for name, shape in shapes.items()})
        return math.fsum(openvino_graph.count_work(shaped).macs.values())

    operations = model.get_ops()
    constants = [node for node in operations if node.get_type_name() == "Constant"]
    sizes = [(node.get_element_type().get_type_name(), math.prod(node.get_output_shape(0))) for node in constants]
    quantised = {kind for kind, size in sizes if size > MIN_WEIGHTS} & {"i8", "u8", "i4", "u4"}
    fake = any(node.get_type_name() == "FakeQuantize" for node in operations)
    return ModelFile(
        kind="ir",
        title=f"OpenVINO IR, version {_version(path)}",
        producer="",
        files=(path, weights),
        inputs=tuple(_port(port) for port in model.inputs),
        outputs=tuple(_port(port) for port in model.outputs),
        parameters=sum(size for _, size in sizes),
        precision="int8" if quantised or fake else "fp32",  # weights in fp16 are decompressed: the graph is fp32
        count=count,
    )


def _version(path: Path) -> str:
    """Return the version in the first element of an IR."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        found = re.search(r'<net\b[^>]*\bversion="(\d+)"', stream.read(10_000))
    return found.group(1) if found else "unknown"


def _port(port: Any) -> Port:
    name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
    kinds = {"f32": "float32", "f16": "float16", "f64": "float64", "boolean": "bool", "i4": "int8", "u4": "uint8"}
    kind = port.get_element_type().get_type_name()
    dtype = kinds.get(kind, kind.replace("i", "int", 1) if kind[0] == "i" else kind.replace("u", "uint", 1))
    extents = tuple(
        f"{name}_{axis}" if one.is_dynamic else one.get_length() for axis, one in enumerate(port.get_partial_shape())
    )
    return Port(name, dtype, extents)
