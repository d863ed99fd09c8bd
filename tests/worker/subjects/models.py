"""Small ONNX models for tests, built operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, WIDTH, CLASSES = 50, 64, 5


def two_inputs(path: Path) -> Path:
    """Write a model with the inputs `ids` and `mask` (batch × tokens, int64), and the outputs `scores` and `total`.

    `scores` (batch × classes) is float32, `total` (batch) int64. Its only product is that of tokens × WIDTH × CLASSES.
    """
    generator = np.random.default_rng(0)
    table = generator.standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
    weights = generator.standard_normal((WIDTH, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["embedded", "column"], ["masked"]),
        helper.make_node("MatMul", ["masked", "weights"], ["projected"]),
        helper.make_node("ReduceMean", ["projected", "tokens"], ["scores"], keepdims=0),
        helper.make_node("ReduceSum", ["ids", "tokens"], ["total"], keepdims=0),
    ]
    stored = {
        "table": table,
        "weights": weights,
        "last": np.array([2], np.int64),
        "tokens": np.array([1], np.int64),
    }
    inputs = [_value(name, TensorProto.INT64, ["batch", "length"]) for name in ("ids", "mask")]
    outputs = [_value("scores", TensorProto.FLOAT, ["batch", CLASSES]), _value("total", TensorProto.INT64, ["batch"])]
    return save(path, nodes, inputs, outputs, stored)


def one_convolution(path: Path, batch: int | str = 3) -> Path:
    """Write a convolution of grey images of 6 × 10 pixels with 4 kernels of 3 × 3, and the sum over its pixels."""
    weights = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["maps", "pixels"], ["means"], keepdims=0),
    ]
    stored = {"weights": weights, "pixels": np.array([2, 3], np.int64)}
    image = _value("image", TensorProto.FLOAT, [batch, 1, 6, 10])
    return save(path, nodes, [image], [_value("means", TensorProto.FLOAT, [batch, 4])], stored)


def classifier(path: Path) -> Path:
    """Write a classifier of signals (batch × steps × 6): `scores` (batch × 2), and `total` (batch)."""
    weights = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["signal", "weights"], ["projected"]),
        helper.make_node("ReduceMean", ["projected", "steps"], ["scores"], keepdims=0),
        helper.make_node("ReduceSum", ["projected", "both"], ["total"], keepdims=0),
    ]
    stored = {"weights": weights, "steps": np.array([1], np.int64), "both": np.array([1, 2], np.int64)}
    signal = _value("signal", TensorProto.FLOAT, ["batch", "steps", 6])
    outputs = [_value("scores", TensorProto.FLOAT, ["batch", 2]), _value("total", TensorProto.FLOAT, ["batch"])]
    return save(path, nodes, [signal], outputs, stored)


def _value(name: str, kind: int, shape: list[int | str]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], stored: dict[str, Any]) -> Path:
    """Write a graph of opset 18, and return its path."""
    initializers = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
