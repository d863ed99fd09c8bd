"""An OpenVINO model with compressed weights, by NNCF: 8 or 4 bits, without calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.converters import base
from runner.worker.converters.base import Order
from runner.worker.converters.openvino_files import read, save
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.libraries import quiet_nncf
from runner.worker.subjects.subject import IR, ONNX, Form

PRECISIONS = ("int8_weights", "int4_weights")


class Converter(base.Converter):
    """Compresses the weights of matrix products and embeddings."""

    name = "NNCF"
    sources = (IR, ONNX)

    def makes(self, form: Form) -> bool:
        """Return whether the form is an IR with compressed weights."""
        return form.kind == "ir" and form.precision in PRECISIONS

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.xml`` and ``model.bin``: 8 bits asymmetric, or 4 bits symmetric in groups of 64."""
        assert source is not None
        nncf = quiet_nncf()
        in_eight = order.form.precision == "int8_weights"
        mode = nncf.CompressWeightsMode.INT8_ASYM if in_eight else nncf.CompressWeightsMode.INT4_SYM
        options: dict[str, Any] = {} if in_eight else {"group_size": 64, "ratio": 1.0}
        save(nncf.compress_weights(read(source), mode=mode, **options), target)
        copy_configuration(source, target)
