"""An ONNX graph in static int8, by ONNX Runtime's quantiser: QDQ format, calibrated."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from runner.worker.converters import base
from runner.worker.converters.base import Order, calibration_key, chosen, range_key
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.evidence.isa import has_vnni
from runner.worker.failures import Unsupported
from runner.worker.subjects.subject import FILES, MAX_ONNX_BYTES, ONNX, Batch, Form

log = logging.getLogger(__name__)

LEFT_BEHIND = "sym_shape_infer_temp.onnx"
"""What ONNX Runtime's symbolic shape inference leaves when it fails."""
MAX_FLOAT_SHARE = 0.15
"""Largest share of the multiply-accumulates that products of activations may have and stay in float: with long texts
they outgrow the others, and a model with less than 80 % in int8 counts as quantised in part."""
MIN_OPSET = 13
"""The first opset whose DequantizeLinear takes a scale per channel."""


class Converter(base.Converter):
    """Quantises a graph's weights and activations."""

    name = "ONNX Runtime's quantiser"
    sources = (ONNX,)
    version = 5
    steered_by: ClassVar = {
        "ignore": (),
        "calibration": ("minmax", "percentile", "entropy"),
        "model_type": ("transformer", "other"),
    }

    def makes(self, form: Form) -> bool:
        """Return whether the form is a graph in static int8."""
        return form == Form("onnx", "int8")

    def key(self, order: Order) -> dict[str, Any]:
        """Return the calibration data, and whether weights have 7 bits.

        Raises:
            Unsupported: a model that generates text.
        """
        reason = "calibration provides no ranges for cached keys and values: take precision=int8_dynamic"
        return {**calibration_key(order, reason), **range_key()}

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.onnx``."""
        assert source is not None
        batches = (order.subject.inputs(samples) for samples in order.dataset.calibration_batches())
        quantise(source / FILES["onnx"], target / FILES["onnx"], batches, reduce_range=not has_vnni(), **order.steering)
        copy_configuration(source, target)


def quantise(
    source: Path,
    target: Path,
    batches: Iterable[Batch],
    *,
    reduce_range: bool,
    ignore: Sequence[str] = (),
    calibration: str = "minmax",
    model_type: str | None = None,
) -> None:
    """Write a static int8 model in QDQ format: unsigned activations, and signed weights per channel.

    In a graph with attention, only the products with weights are quantised, both inputs of each; their outputs remain
    in fp32, which brought the logits of ViT-B/16 from 9 to 26 dB of SQNR. Products of two activations remain in float:
    that is 1.06 (1.02 … 1.09) times as fast on ViT-B/16 and 3 dB better, on BERT 1.00 (0.98 … 1.03) times and 0.6 dB
    (int8 probes on two cores with AMX, side by side, `measure=standard`). With long texts, where they are more than
    MAX_FLOAT_SHARE of the network, they are quantised too.

    Args:
        source: the exported model.
        target: the file to write.
        batches: the calibration data.
        reduce_range: quantise weights to 7 bits.
        ignore: operations that stay in fp32, by name or type; see :func:`runner.worker.converters.base.chosen`.
        calibration: minmax, percentile or entropy.
        model_type: transformer or other; None: a graph with a softmax has attention.

    Raises:
        Refused: a word of `ignore` matches nothing.
        Unsupported: the quantiser found nothing to quantise.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    prepared = target.with_name("prepared.onnx")
    prepare(source, prepared)
    graph = _as_quantiser_needs(prepared).graph
    softmax = any(node.op_type == "Softmax" for node in graph.node)
    attention = softmax if model_type is None else model_type == "transformer"
    methods = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
    names, types = chosen(ignore, {node.name: node.op_type for node in graph.node})
    names += [node.name for node in graph.node if node.op_type in types]
    products = activation_products(graph) if attention else []
    names += products if share_of_products(graph, products) <= MAX_FLOAT_SHARE else []
    linear = ["Conv", "MatMul", "Gemm"]
    quantize_static(
        prepared,
        target,
        _reader(batches, [one.name for one in graph.input]),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, methods[calibration]),
        nodes_to_exclude=names,
        op_types_to_quantize=linear if attention else None,
        extra_options={"OpTypesToExcludeOutputQuantization": linear} if attention else {},
        use_external_data_format=is_large(source),
    )
    if not any(node.op_type == "QuantizeLinear" for node in onnx.load(target, load_external_data=False).graph.node):
        raise Unsupported("ONNX Runtime's quantiser found nothing to quantise in the graph: take precision=fp32")
    for file in target.parent.glob(f"{prepared.name}*"):  # with its weights beside it
        file.unlink()


def activation_products(graph: Any) -> list[str]:
    """Return the names of the matrix products of two activations: queries with keys, and scores with values.

    Both ranges of theirs are calibrated, neither is known, and small products gain little.
    """
    constant = {one.name for one in graph.initializer}
    constant |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not constant & set(node.input)]


def share_of_products(graph: Any, names: Sequence[str]) -> float:
    """Return the share of some matrix products in the multiply-accumulates of all, as far as their shapes are known.

    An extent that is open, such as the batch, counts as 1: it is the same in all products.
    """
    shapes = {one.name: list(one.dims) for one in graph.initializer}
    for one in (*graph.input, *graph.value_info, *graph.output):
        shapes[one.name] = [extent.dim_value or 1 for extent in one.type.tensor_type.shape.dim]
    counts = {node.name: _multiplications(node, shapes) for node in graph.node if node.op_type in ("MatMul", "Gemm")}
    return sum(counts.get(name, 0) for name in names) / max(1, sum(counts.values()))


def _multiplications(node: Any, shapes: Mapping[str, list[int]]) -> int:
    """Return the multiply-accumulates of a product; 0 if a shape is not known."""
    first, second = (shapes.get(name) for name in node.input[:2])
    if not first or not second:
        return 0
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return math.prod(first) * (second[-2] if transposed and len(second) > 1 else second[-1])


def _as_quantiser_needs(file: Path) -> Any:
    """Return a model as a quantiser needs it, and as the file then is: with named operations, and biases of a row.

    A product and a sum of [1, N], as JAX and TensorFlow export them, are fused to a Gemm with a bias of [1, N], of
    which ONNX Runtime 1.31's quantiser takes the whole row for one number.
    """
    import onnx

    model = onnx.load(file, load_external_data=False)
    stored = {one.name: one for one in model.graph.initializer}
    changed = False
    for number, node in enumerate(model.graph.node):
        if not node.name:
            node.name, changed = f"{node.op_type}_{number}", True
        bias = stored.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1:
            flat = model.graph.initializer.add()
            flat.CopyFrom(bias)
            flat.name, flat.dims[:] = f"{bias.name}_of_{node.name}", bias.dims[1:]
            node.input[2], changed = flat.name, True
    if changed:
        onnx.save(model, file)
    return model


def is_large(graph: Path) -> bool:
    """Return whether a graph and the files beside it hold more than one file of ONNX can."""
    return sum(file.stat().st_size for file in graph.parent.iterdir() if file.is_file()) > MAX_ONNX_BYTES


def prepare(source: Path, target: Path) -> None:
    """Write a model with inferred shapes and fused operators, as the quantiser needs it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    opset = next((one.version for one in onnx.load(source, load_external_data=False).opset_import if not one.domain), 0)
    if opset < MIN_OPSET:
        onnx.save(onnx.version_converter.convert_version(onnx.load(source), MIN_OPSET), target)
        source = target
    external = {"save_as_external_data": True, "all_tensors_to_one_file": True} if is_large(source) else {}
    source, target = source.absolute(), target.absolute()
    with contextlib.chdir(target.parent):  # symbolic inference that fails leaves a file in the current folder
        try:
            quant_pre_process(source, target, **external)
        except Exception as error:  # it fails in its own ways: on attention masks, on unknown operators
            log.info("without symbolic shape inference, which failed: %r", error)
            quant_pre_process(source, target, skip_symbolic_shape=True, **external)
        Path(LEFT_BEHIND).unlink(missing_ok=True)


def _reader(batches: Iterable[Batch], names: list[str]) -> Any:
    """Return calibration data in the form that ONNX Runtime's quantiser reads: only the graph's inputs."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch[name] for name in names}

    return Reader()
