"""Your own model file, from the command line: inspected, measured in both runtimes, and refused if it cannot run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from runner.paths import PROJECT
from runner.protocol import VERIFIED
from runner.results.status import Status
from tests.conftest import TESTS, RunProgram
from tests.worker.subjects.models import one_convolution, two_inputs
from tests.worker.subjects.test_programs import export

BRIEF = (
    *("measure=quick", "measure.slice_s=0.02", "measure.settle_s=0", "measure.settle_iterations=1"),
    *("measure.replicates=2", "measure.rounds=1", "measure.warmup_s=0.1", "measure.guards=false", "tracking=none"),
)
CHECKED = ("measure=check", "tracking=none", "data.evaluation_samples=8", "data.calibration_samples=8")
SHAPES = 'model.shapes=["ids[batch,16]:0..49","mask[batch,16]"]'


@pytest.mark.slow
def test_two_inputs_run_in_both_runtimes(run_program: RunProgram, tmp_path):
    """Measured beside the file in ONNX Runtime fp32; precision proven; outputs compared one by one."""
    path = two_inputs(tmp_path / "mine.onnx")
    done = run_program(
        "model=file", f"model.path={path}", SHAPES, "backend=ort,openvino", "precision=fp32,int8", *BRIEF
    )
    assert done.code == 0, done.out + done.err
    results = done.results()
    assert len(results) == 4
    for result in results:
        assert result.status is Status.ok, result.reason
        assert result.settings["model.name"] == "mine"
        [proven] = [finding for finding in result.evidence if finding.knob == "precision"]
        assert proven.state == VERIFIED, proven.observed
        scores = result.accuracy.scores
        assert (scores["equal total"], scores["cosine scores"] > 0.98) == (1, True)
        if result.settings["precision.name"] == "fp32":
            assert scores["max_error scores"] < 1e-4
        else:
            assert "calibrated on synthetic values" in " ".join(result.notes)
    assert "baseline: mine ort fp32 batch 8" in done.out


@pytest.mark.slow
def test_weights_beside_a_graph(run_program: RunProgram, tmp_path):
    """In both runtimes, and for both quantisers."""
    import onnx

    model = onnx.load(two_inputs(tmp_path / "two.onnx"))
    path = tmp_path / "external.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="external.data", size_threshold=256)
    done = run_program(
        "model=file", f"model.path={path}", SHAPES, "backend=ort,openvino", "precision=fp32,int8", *CHECKED
    )
    assert [result.status for result in done.results()] == [Status.ok] * 4, done.out
    done = run_program("model=file", f"model.path={path}", SHAPES, "backend=ort", "precision=int8_dynamic", *CHECKED)
    assert [result.status for result in done.results()] == [Status.ok], done.out


@pytest.mark.slow
def test_a_fixed_batch_is_that_of_the_run(run_program: RunProgram, tmp_path):
    """Throughput counts its three samples; PyTorch cannot run a graph, and the row says so."""
    path = one_convolution(tmp_path / "fixed.onnx")
    done = run_program("model=file", f"model.path={path}", "backend=ort,torch", *BRIEF)
    ran, refused = done.results()
    assert (ran.status, ran.settings["batch_size"]) == (Status.ok, 3), ran.reason
    assert refused.status is Status.unsupported
    assert "fixed comes as onnx-fp32, nothing converts that to module-fp32" in refused.reason


@pytest.mark.slow
def test_an_ir_is_its_own_baseline(run_program: RunProgram, tmp_path):
    """OpenVINO saves weights in 16 bits by default; its kernels compute in fp32."""
    from runner.worker.libraries import import_openvino

    openvino = import_openvino()
    openvino.save_model(openvino.Core().read_model(two_inputs(tmp_path / "two.onnx")), tmp_path / "two.xml")
    done = run_program("model=file", f"model.path={tmp_path / 'two.xml'}", SHAPES, "backend=openvino", *BRIEF)
    [result] = done.results()
    assert result.status is Status.ok, result.reason
    assert "baseline: two openvino fp32 batch 8" in done.out


def proven(result):
    """Return the finding about a result's precision, after checking that the row is `ok`."""
    assert result.status is Status.ok, result.reason
    [found] = [finding for finding in result.evidence if finding.knob == "precision"]
    return found


@pytest.mark.slow
def test_an_exported_program_runs_in_every_runtime(run_program: RunProgram, tmp_path):
    """Its baseline is PyTorch; an ONNX graph of it is exported for the others."""
    path = export(tmp_path / "program.pt2")
    done = run_program(
        "model=file", f"model.path={path}", "backend=torch,ort,openvino", "precision=fp32,int8", *CHECKED
    )
    assert done.code == 0, done.out
    results = done.results()
    assert len(results) == 6
    for result in results:
        assert proven(result).state == VERIFIED, proven(result).observed
        assert result.accuracy.scores["equal pair.0"] == 1
        assert result.accuracy.scores["cosine scores"] > 0.95


@pytest.mark.slow
def test_a_quantised_file_runs_as_it_is(run_program: RunProgram, tmp_path):
    """What executed is shown; no other precision can be made of it."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(two_inputs(tmp_path / "two.onnx"), tmp_path / "small.onnx")
    where = f"model.path={tmp_path / 'small.onnx'}"
    done = run_program("model=file", where, SHAPES, "backend=ort,openvino", *CHECKED)
    assert [result.settings["precision.name"] for result in done.results()] == ["as_is", "as_is"]
    assert [result.status for result in done.results()] == [Status.ok, Status.ok], done.out
    assert "100.0 % int8" in proven(done.results()[0]).observed
    done = run_program("model=file", where, SHAPES, "backend=ort", "precision=fp32", *CHECKED)
    [refused] = done.results()
    assert refused.status is Status.unsupported
    assert "small is quantised or stored in 16 bits already: take precision=as_is" in refused.reason


@pytest.mark.slow
def test_a_python_module_builds_a_model(run_program: RunProgram):
    """With options of its own; outputs in dictionaries and tuples are compared one by one."""
    done = run_program(
        *("model=python", "model.name=three_outputs", "model.config.hidden=16", "backend=torch,ort,openvino"),
        *CHECKED,
        RUNNER_MODELS=str(TESTS / "models"),
    )
    assert done.code == 0, done.out
    for result in done.results():
        assert proven(result).state == VERIFIED, proven(result).observed
        scores = result.accuracy.scores
        assert {name.partition(" ")[2] for name in scores} == {"hidden", "pair.0", "pair.1", "count"}
        assert max(value for name, value in scores.items() if name.startswith("max_error")) < 1e-4


@pytest.mark.slow
def test_a_network_of_a_library_as_tensors(run_program: RunProgram):
    """Its outputs are compared as those of any model, and there is no verdict on accuracy."""
    words = ("model=timm", "model.name=test_vit", "model.image_size=160", "model.task=tensors", "weights=random")
    done = run_program(*words, "backend=torch,openvino", "batch_size=2", *CHECKED)
    assert done.code == 0, done.out
    for result in done.results():
        assert proven(result).state == VERIFIED
        assert (result.accuracy.top1, result.accuracy.scores["cosine output"] > 0.9999) == (None, True)


@pytest.mark.slow
def test_embeddings_of_a_network(run_program: RunProgram):
    """Without a classifier a network returns its features. int8 turns them: this network is not trained."""
    words = ("model=timm", "model.name=test_vit", "model.image_size=160", "model.task=embedding", "weights=random")
    done = run_program(*words, "backend=openvino", "precision=fp32,int8", "batch_size=2", *CHECKED)
    assert done.code == 0, done.out
    exact, close = (result.accuracy for result in done.results())
    assert (exact.agreement_top1, exact.scores["cosine_min"] > 0.9999) == (1, True)
    assert 0.5 < close.scores["cosine"] < 1
    assert "% same neighbour" in done.out


@pytest.mark.slow
def test_an_operator_that_a_runtime_lacks_is_unsupported(run_program: RunProgram, tmp_path):
    """In that row; its name is in the reason."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph([helper.make_node("Frobnicate", ["x"], ["y"], domain="acme")], "test", [value], [out])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("acme", 1)]
    path = tmp_path / "own.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    done = run_program("model=file", f"model.path={path}", "backend=ort,openvino", *BRIEF)
    own, other = done.results()
    assert (own.status, other.status) == (Status.unsupported, Status.unsupported), (own.reason, other.reason)
    assert "ONNX Runtime does not implement the operator acme:Frobnicate" in own.reason
    assert "OpenVINO does not convert the operators acme.Frobnicate" in other.reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["model.path=nowhere.onnx"], "model.path: received '{folder}/nowhere.onnx'; allowed: a file that exists"),
        ([], "model.path: received None; allowed: a model file (.onnx, .xml, .pt2)"),
        (["model.path=two.onnx"], "Add 'model.shapes=[\"ids[batch,128]\"]'"),
        (["model.path=fixed.onnx", "batch_size=8"], "batch_size: received 8; allowed: 3, which fixed.onnx fixes"),
        (["model.path=fixed.onnx", 'model.shapes=["images[3,1,6,10]"]'], "No input is called images; nearest: image"),
        (["model.path=fixed.onnx", "weights=random"], "weights: received 'random'; allowed: own with model=file"),
        (["model.path=fixed.onnx", "data=digits"], "data: received"),
    ],
)
def test_mistakes_in_a_file_launch_nothing(tmp_path, words, reason):
    """One line each, and exit code 2."""
    two_inputs(tmp_path / "two.onnx")
    one_convolution(tmp_path / "fixed.onnx")
    command = [sys.executable, "-m", "runner", "model=file", "backend=ort", "tracking=none", *words]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert reason.format(folder=tmp_path) in done.stderr
    assert not (tmp_path / "outputs" / "sweeps").exists()


@pytest.mark.slow
def test_inspect_prints_a_command_that_composes(tmp_path):
    """Quoted for the shell and for Hydra, with a size for each extent that the file leaves open."""
    path = two_inputs(tmp_path / "two.onnx")
    inspected = subprocess.run(
        [sys.executable, "-m", "runner", "inspect", str(path)],
        cwd=PROJECT, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin", "COLUMNS": "200"},
    ).stdout  # fmt: skip
    assert "ids[batch,length]:int64" in inspected
    [line] = re.findall(r"^ +runner (-m model=file .*)$", inspected, re.MULTILINE)
    words = shlex.split(line)
    assert 'model.shapes=["ids[batch,128]","mask[batch,128]"]' in words
    planned = subprocess.run(
        [sys.executable, "-m", "runner", *words, "--dry-run", f"output_dir={tmp_path}"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    assert "dry run: 6 runs" in planned.stdout
