"""The types of stored weights: those with which the compiled model computes, not those of the file."""

from __future__ import annotations

import numpy as np
import pytest

from runner.protocol import CONTRADICTED, VERIFIED
from runner.worker.evidence.openvino_graph import weights_precision
from runner.worker.libraries import import_openvino, quiet_nncf

WIDTH = 128
F32 = {"INFERENCE_PRECISION_HINT": "f32"}


def network(*widths):
    """Return a chain of matrix products with these numbers of outputs."""
    openvino = import_openvino()
    from openvino import opset13

    generator = np.random.default_rng(0)
    value = inputs = opset13.parameter([-1, WIDTH], np.float32, name="x")
    before = WIDTH
    for width in widths:
        weights = opset13.constant(generator.standard_normal((width, before)).astype(np.float32))
        value, before = opset13.matmul(value, weights, False, True), width
    return openvino.Model([value], [inputs])


def compressed(model, precision):
    nncf = quiet_nncf()
    modes = {
        "int8_weights": {"mode": nncf.CompressWeightsMode.INT8_ASYM},
        "int4_weights": {"mode": nncf.CompressWeightsMode.INT4_SYM, "group_size": 64, "ratio": 1.0},
    }
    return nncf.compress_weights(model.clone(), **modes[precision])


def compiled(model):
    return import_openvino().Core().compile_model(model, "CPU", F32)


@pytest.mark.parametrize("precision", ["int8_weights", "int4_weights"])
def test_compressed_weights_are_proven(precision):
    """The body is in the requested type."""
    model = compressed(network(WIDTH, WIDTH, WIDTH), precision)
    finding = weights_precision(precision, model, compiled(model))
    assert (finding.state, finding.facts[precision]) == (VERIFIED, 1.0), finding.observed


def test_a_large_vocabulary_is_no_contradiction():
    """NNCF keeps the last layer in 8 bits: it holds most weights of a small model with many words."""
    model = compressed(network(WIDTH, WIDTH, 20_000), "int4_weights")
    finding = weights_precision("int4_weights", model, compiled(model))
    assert (finding.state, finding.facts) == (VERIFIED, {"int4_weights": 1.0})


def test_weights_that_the_plugin_decompressed():
    """The file stores 8 bits; the compiled model computes with fp32."""
    plain = network(WIDTH, WIDTH)
    stored = plain.clone()
    finding = weights_precision("int8_weights", stored, compiled(plain))
    assert (finding.state, finding.facts) == (CONTRADICTED, {"fp32": 1.0})


def test_eight_bits_are_no_four():
    """Asked for 4 bits, the file holds 8."""
    model = compressed(network(WIDTH, WIDTH, WIDTH), "int8_weights")
    finding = weights_precision("int4_weights", model, compiled(model))
    assert (finding.state, finding.facts) == (CONTRADICTED, {"int8_weights": 1.0})
