"""int8 on a processor without VNNI: every quantiser leaves a bit free, and the row says so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from runner.worker import build
from runner.worker.converters import base, nncf_int8, ort_int8, ort_int8_dynamic, torchao_program
from runner.worker.converters.openvino_files import read
from tests.jobs import cache_of, change_job
from tests.worker.backends.test_backends import PROBE

# The libraries warn while they convert; elsewhere a process of its own does that.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def gathered(tmp_path, monkeypatch):
    """Return a function that makes the artifacts of a job as on a processor without VNNI."""
    for module in (build, base, nncf_int8, ort_int8, ort_int8_dynamic, torchao_program):
        monkeypatch.setattr(module, "has_vnni", lambda: False, raising=False)

    def gather(**fields):
        job = change_job(PROBE, cache_dir=str(tmp_path), weights="random", **fields)
        parts = build.gather(job, cache_of(job).get)
        assert "a bit of each int8 product is left free" in " ".join(parts.notes)
        return parts

    return gather


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"precision": "int8"}, {"precision": "int8_dynamic", "options": {"quantization": "avx2"}}]
)
def test_onnx_runtimes_weights_have_seven_bits(gathered, fields):
    """Their values then span half of the range."""
    parts = gathered(backend="ort", **fields)
    graph = onnx.load(parts.model.folder / "model.onnx").graph
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    weights = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type in kinds]
    large = [one.astype(np.int32) for one in weights if one.size > 64]
    assert large
    assert max(int(np.ptp(one)) for one in large) <= 128


@pytest.mark.slow
def test_nncfs_weights_have_seven_bits(gathered):
    """In every layer, not in the first alone."""
    parts = gathered(backend="openvino", precision="int8")
    weights = [
        node.get_data().astype(np.int32)
        for node in read(parts.model.folder).get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "i8"
    ]
    large = [one for one in weights if one.size > 64]
    assert len(large) > 10
    assert max(int(np.abs(one).max()) for one in large) <= 64


@pytest.mark.slow
def test_torchaos_activations_have_seven_bits(gathered):
    """Its quantiser for x86 leaves the bit of the activations free."""
    import torch
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401 -- registers operators

    parts = gathered(backend="torch", precision="int8")
    program = torch.export.load(parts.model.folder / "program.pt2")
    limits = {
        node.args[4] for node in program.graph.nodes if "quantize_per_tensor" in str(node.target) and len(node.args) > 4
    }
    assert limits == {127}


def test_the_key_says_whether_a_bit_is_free(monkeypatch):
    """An artifact made on one processor is not used on the other."""
    keys = []
    for has_vnni in (True, False):
        monkeypatch.setattr(base, "has_vnni", lambda has_vnni=has_vnni: has_vnni)
        keys.append(base.range_key())
    assert keys[0] != keys[1]
