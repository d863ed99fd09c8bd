"""The real runtimes: their outputs, the lifetime of their inputs, and their artifacts."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from runner.analysis.accuracy import sqnr_db
from runner.job import Job
from runner.paths import PROJECT
from runner.processes.launch import WorkerLaunch
from runner.processes.worker import Worker
from runner.protocol import VERIFIED, Evaluate, Evaluated, Load, Loaded, Observe, Observed
from runner.worker.backends.base import Settings
from runner.worker.backends.torch_module import TorchModule
from runner.worker.build import Gathered, gather, with_artifacts
from runner.worker.evidence.isa import cpu_flags
from runner.worker.subjects import torchvision
from tests.jobs import cache_of, change_job, make_job

BATCH = 8
SAMPLES = 24
MIN_SQNR_DB = {"fp32": 60, "bf16": 20, "int8": 8}
IN_PROCESS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("ort", "fp32"),
    ("ort", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
"""Without int8 of torch, which sets inductor's freezing for the whole process: its test starts a worker."""
HAS_BF16 = bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})
PROBE = make_job(image_size=64, weights="probe", evaluation_samples=SAMPLES, calibration_samples=32, batch_size=BATCH)


@pytest.fixture(scope="session")
def job(tmp_path_factory) -> Job:
    """The job that all tests vary; test_datasets.py shares its cache, so that the probe is made once."""
    return change_job(PROBE, cache_dir=str(tmp_path_factory.getbasetemp() / "artifacts"))


def opened(job: Job) -> Gathered:
    """Return the loaded parts of a job; as in a run, another process makes the artifacts."""
    parts, _ = with_artifacts(job, cache_of(job), lambda fetch: gather(job, fetch))
    parts.load()
    return parts


def infer(parts: Gathered) -> np.ndarray:
    """Return the logits of the evaluation images."""
    batches = parts.dataset.batches(parts.dataset.evaluation, BATCH)
    return np.concatenate([parts.task.answers(parts.runtime, images)["logits"][:count] for images, count in batches])


def logits_of(outputs: Any) -> np.ndarray:
    """Return a step's outputs as an array; they are a tensor, a list of one array, or a request."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float().numpy()
    return outputs[0] if isinstance(outputs, list) else outputs.get_output_tensor().data


@pytest.fixture(scope="session")
def reference(job) -> np.ndarray:
    """The logits of torch in fp32."""
    return infer(opened(job))


def launch(job: Job) -> WorkerLaunch:
    """Return the launch of a worker with a minimal environment."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    compiled = {"TORCHINDUCTOR_CACHE_DIR": str(Path(job.run.cache_dir) / "inductor")}
    return WorkerLaunch(
        [sys.executable, "-P", "-m", "runner.worker"], inherited | compiled | {"PYTHONPATH": str(PROJECT)}, job
    )


class Recording(TorchModule):
    """A runtime whose module a test sets."""

    def load(self, model: object) -> None:
        """Load nothing."""


class Anything:
    """A subject that passes its inputs on by position."""

    def arguments(self, tensors: dict[str, torch.Tensor]) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        """Return the tensors as positional arguments."""
        return tuple(tensors.values()), {}


def test_request_threads_of_torch_have_a_pool_of_one(job):
    """With one request per core, each has one thread; without a setting, a new thread takes OpenMP's default."""
    settings = Settings("fp32", BATCH, 2, "contiguous", "async", 2)
    module = Recording(settings)
    found: list[int] = []

    def pools(batch: object) -> None:
        found.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")

    before = torch.get_num_threads()
    try:
        module._module = pools
        module._subject = Anything()  # type: ignore[assignment] # it is asked for the arguments only
        step = module.bind({"images": np.zeros((BATCH, 3, 8, 8), np.float32)})
        with ThreadPoolExecutor(1) as pool:
            pool.submit(step).result()
    finally:
        torch.set_num_threads(before)
    assert found[0] == 1


@pytest.mark.parametrize(("backend", "precision"), IN_PROCESS)
def test_logits_agree_with_fp32(job, reference, backend, precision):
    """Every runtime computes the same network: up to rounding in fp32, else up to the noise of its precision."""
    parts = opened(change_job(job, backend=backend, precision=precision))
    logits = parts.task.answers(parts.runtime, parts.samples)["logits"]
    assert (logits.shape, logits.dtype) == ((BATCH, 10), np.float32)
    sqnr = sqnr_db(infer(parts), reference)
    if (backend, precision) == ("torch", "fp32"):
        assert sqnr is None  # the logits are bit-identical
    else:
        assert sqnr > MIN_SQNR_DB[precision]
        if precision == "int8" or (precision == "bf16" and HAS_BF16):
            assert sqnr < MIN_SQNR_DB["fp32"]  # without noise, it would have computed in fp32


def test_torch_int8_agrees_with_fp32_and_is_proven(job, reference, tmp_path):
    """A worker runs the quantised program, compiled by inductor: the logits agree, in the order of the images."""
    int8 = change_job(job, precision="int8")
    with Worker(launch(int8), tmp_path / "worker.log") as worker:
        loaded = worker.request(Load(int8), Loaded, timeout_s=400)
        worker.request(Evaluate(str(tmp_path / "logits.npz"), cached=False), Evaluated, timeout_s=60)
        seen = worker.request(Observe(watch_s=0.2), Observed, timeout_s=60)
    assert loaded.artifact_mib > 1
    found = {finding.knob: finding for finding in seen.evidence}
    assert (found["precision"].state, found["compile"].state) == (VERIFIED, VERIFIED), found["precision"]
    assert found["precision"].facts["int8"] > 0.95
    assert "recompilations" not in found  # nothing was timed
    with np.load(tmp_path / "logits.npz") as stored:
        logits, labels = stored["logits"], stored["labels"]
    assert (logits.shape, logits.dtype, labels.shape) == ((SAMPLES, 10), np.float32, (SAMPLES,))
    assert MIN_SQNR_DB["int8"] < sqnr_db(logits, reference) < 60


def test_channels_last_gives_the_same_logits(job, reference):
    """The memory format does not change the result."""
    parts = opened(change_job(job, memory_format="channels_last"))
    assert next(parts.runtime._module.parameters()).stride()[1] == 1  # the setting took effect: channels are innermost
    np.testing.assert_allclose(
        parts.runtime.outputs(parts.model.example)["logits"], reference[:BATCH], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("backend", "precision"), IN_PROCESS)
def test_step_keeps_its_images_alive(job, backend, precision):
    """A step keeps its images alive without the caller's reference, repeats its result, and releases them at its end.

    OpenVINO's tensor shares the array's memory without owning it.
    """
    parts = opened(change_job(job, backend=backend, precision=precision))
    images, _ = next(parts.dataset.batches(parts.dataset.evaluation, BATCH))
    alive = weakref.ref(images)
    step = parts.runtime.bind({"images": images})
    first = logits_of(step()).copy()
    shape = images.shape
    del images
    gc.collect()
    assert alive() is not None
    garbage = [np.full(shape, value, np.float32) for value in range(20)]  # would reuse the memory if it were free
    np.testing.assert_array_equal(logits_of(step()), first)
    del garbage, step
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("backend", ["torch", "ort", "openvino"])
def test_each_step_infers_its_own_images(job, reference, backend):
    """Steps bound to different batches keep to their own, in any order."""
    parts = opened(change_job(job, backend=backend))
    batches = [images for images, _ in parts.dataset.batches(parts.dataset.evaluation, BATCH)]
    steps = [parts.task.bind(parts.runtime, images) for images in batches]
    for number in (2, 0, 1, 0):
        expected = reference[number * BATCH : (number + 1) * BATCH]
        assert (sqnr_db(logits_of(steps[number]()), expected) or np.inf) > MIN_SQNR_DB["fp32"]


@pytest.mark.parametrize("weights", ["random", "file"])
def test_a_measured_process_never_makes_its_artifacts(job, tmp_path, weights):
    """With an empty cache, another process exports the network, so that the worker does not load torch.

    Nor to learn the preprocessing of its library, or what a file of weights holds. The second worker reuses the export,
    and the logits are identical.
    """
    fresh = change_job(job, backend="ort", weights=weights, image_size=32, cache_dir=str(tmp_path / "cache"))
    made = ["digits", "onnx-fp32", "work"]
    if weights == "file":
        torch.save(torchvision.build("resnet18", 32, 10).state_dict(), tmp_path / "weights.pt")
        fresh = change_job(fresh, weights_path=str(tmp_path / "weights.pt"), evaluation_samples=8)
        made = ["facts", "weights", *made]
    logits, rebuilt = [], []
    for number in range(2):
        with Worker(launch(fresh), tmp_path / f"{number}.log") as worker:
            phases: list[str] = []
            rebuilt.append(worker.request(Load(fresh), Loaded, timeout_s=200, on_phase=phases.append).rebuilt)
            assert ("build" in phases) == bool(rebuilt[-1])
            libraries = Path(f"/proc/{worker.pid}/maps").read_text()
            assert ("onnxruntime" in libraries, "libtorch" in libraries) == (True, False)
            path = tmp_path / f"{number}.npz"
            worker.request(Evaluate(str(path), cached=False), Evaluated, timeout_s=60)
        with np.load(path) as stored:
            logits.append(stored["logits"])
    assert rebuilt == [made, []]
    np.testing.assert_array_equal(*logits)
