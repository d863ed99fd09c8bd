"""An OpenVINO model in static int8 by NNCF: all of it, or except where that costs too much accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from runner.worker.converters import base
from runner.worker.converters.base import Order, calibration_key, chosen, range_key
from runner.worker.converters.openvino_files import input_names, read_folded, save
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.data.datasets import CALIBRATION_BATCH
from runner.worker.evidence.isa import has_vnni
from runner.worker.failures import Unsupported
from runner.worker.libraries import quiet_nncf
from runner.worker.subjects.subject import IR, ONNX, Batch, Form, select

CONTROLLED = Form("ir", "int8_accuracy")
MAX_LOSS = 0.01
"""Largest loss of top-1, relative to fp32's: the rule of the accuracy gate."""
VALIDATION_SAMPLES = 256
"""Maximum number of training samples on which the loss is measured; none of them is evaluated later."""


class Converter(base.Converter):
    """Quantises a model's weights and activations."""

    name = "NNCF"
    sources = (IR, ONNX)
    steered_by: ClassVar = {
        "ignore": (),
        "calibration": ("minmax", "percentile"),
        "preset": ("performance", "mixed"),
        "model_type": ("transformer", "other"),
    }
    version = 4

    def makes(self, form: Form) -> bool:
        """Return whether the form is an IR in static int8, with or without control of accuracy."""
        return form in (Form("ir", "int8"), CONTROLLED)

    def key(self, order: Order) -> dict[str, Any]:
        """Return the samples for calibration and control, and whether weights have 7 bits.

        Raises:
            Unsupported: a model that generates text, or data without labels by which accuracy could be controlled.
        """
        reason = "int8 needs a graph without state, text generation has one: take precision=int8_weights"
        found = {**calibration_key(order, reason), **range_key()}
        if order.form != CONTROLLED:
            return found
        dataset = order.dataset
        if dataset.source.labels is None or not order.subject.task.endswith("-classification"):
            raise Unsupported("int8_accuracy needs labels of classes to measure what is lost: take precision=int8")
        return {**found, "control": dataset.digest_of(_validation(order)), "loss": MAX_LOSS}

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.xml`` and ``model.bin``."""
        assert source is not None
        nncf = quiet_nncf()
        model = read_folded(source)
        batches, changed = calibration_inputs(order, model), settings(nncf, model, order.steering)
        if order.form == CONTROLLED:
            quantised = _controlled(nncf, order, model, batches, changed)
        else:
            quantised = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches), **changed)
        if not any(node.get_type_name() == "FakeQuantize" for node in quantised.get_ops()):
            why = "returned every operation to fp32" if order.form == CONTROLLED else "found nothing to quantise"
            raise Unsupported(f"{self.name} {why} in {order.subject.name}: take precision=fp32")
        save(quantised, target)
        copy_configuration(source, target)


def _controlled(nncf: Any, order: Order, model: Any, batches: list[Batch], changed: dict[str, Any]) -> Any:
    """Return a model in which operations are reverted to fp32 until the loss of top-1 is at most MAX_LOSS."""
    names, dataset, logits = input_names(model), order.dataset, order.subject.logits
    parts = np.array_split(_validation(order), max(1, len(_validation(order)) // CALIBRATION_BATCH))
    validation = [
        (select(order.subject.inputs(dataset.source.batch(part.tolist())), names), dataset.labels(part.tolist()))
        for part in parts
    ]
    if advanced := changed.pop("advanced_parameters", None):
        changed["advanced_quantization_parameters"] = advanced

    def top1(compiled: Any, data: Iterable[Any]) -> tuple[float, list[float]]:
        """Return top-1, and for each batch the share of its samples that are right."""
        right, seen, shares = 0, 0, []
        for inputs, labels in data:
            outputs = compiled(inputs)
            scores = outputs[logits] if len(compiled.outputs) > 1 else outputs[0]
            hits = int((np.asarray(scores).argmax(axis=1) == labels).sum())
            right, seen = right + hits, seen + len(labels)
            shares.append(hits / len(labels))
        return right / max(1, seen), shares

    return nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(batches),
        nncf.Dataset(validation),
        top1,
        max_drop=MAX_LOSS,
        drop_type=nncf.DropType.RELATIVE,
        subset_size=len(batches),
        **changed,
    )


def _validation(order: Order) -> list[int]:
    """Return the training samples on which the loss is measured: others than those of the calibration, if possible."""
    dataset = order.dataset
    others = dataset.training[len(dataset.calibration) :]
    return list((others or dataset.calibration)[:VALIDATION_SAMPLES])


def calibration_inputs(order: Order, model: Any) -> list[Batch]:
    """Return the calibration samples in batches, as the model's inputs."""
    names = input_names(model)
    return [select(order.subject.inputs(samples), names) for samples in order.dataset.calibration_batches()]


def settings(nncf: Any, model: Any, steering: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of NNCF's quantisation.

    Args:
        nncf: the library.
        model: the graph.
        steering: what was changed; see :attr:`runner.job.Engine.steering`.

    Raises:
        Refused: a word of `ignore` matches nothing.
    """
    operations = model.get_ops()
    # A softmax in the graph means attention: the classifiers end in logits.
    attention = any(node.get_type_name() == "Softmax" for node in operations)
    if "model_type" in steering:
        attention = steering["model_type"] == "transformer"
    found: dict[str, Any] = {"model_type": nncf.ModelType.TRANSFORMER if attention else None}
    if "preset" in steering:
        found["preset"] = nncf.QuantizationPreset(steering["preset"])
    if "ignore" in steering:
        known = {node.get_friendly_name(): node.get_type_name() for node in operations}
        names, types = chosen(steering["ignore"], known)
        found["ignored_scope"] = nncf.IgnoredScope(names=names, types=types, validate=False)
    if advanced := _advanced(nncf, steering.get("calibration")):
        found["advanced_parameters"] = advanced
    return found


def _advanced(nncf: Any, calibration: str | None) -> Any:
    """Return NNCF's advanced parameters; None if its own defaults hold."""
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet as Ranges

    changed: dict[str, Any] = {}
    if not has_vnni():  # by default, only the first layer leaves a bit free on such a processor
        changed["overflow_fix"] = nncf.quantization.advanced_parameters.OverflowFix.ENABLE
    if calibration is not None:
        changed["activations_range_estimator_params"] = (
            Ranges.MINMAX if calibration == "minmax" else Ranges.MEAN_QUANTILE
        )
    return nncf.AdvancedQuantizationParameters(**changed) if changed else None
