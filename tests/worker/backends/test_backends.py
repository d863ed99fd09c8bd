"""The real runtimes: the answers they give, what they hold on to, and what they say took effect."""

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
from runner.paths import PROJECT
from runner.processes.launch import WorkerLaunch
from runner.processes.worker import Worker
from runner.protocol import Evaluate, Evaluated, Job, Load, Loaded
from runner.worker.artifacts.cache import Cache, Missing
from runner.worker.backends.base import Settings
from runner.worker.backends.torch_module import TorchModule
from runner.worker.build import Gathered, build_in_subprocess, gather
from runner.worker.evidence.isa import cpu_flags
from runner.worker.failures import Unsupported
from tests.jobs import change_job, make_job

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
"""torch's int8 is not here: it sets inductor's freezing for the whole process, so it has a worker of its own below."""
HAS_BF16 = bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})
PROBE = make_job(image_size=64, weights="probe", evaluation_samples=SAMPLES, calibration_samples=32, batch_size=BATCH)


@pytest.fixture(scope="session")
def job(tmp_path_factory) -> Job:
    """The job that every test varies; test_datasets.py shares its cache, so that the probe is made once."""
    return change_job(PROBE, cache_dir=str(tmp_path_factory.getbasetemp() / "artifacts"))


def opened(job: Job) -> Gathered:
    """Return the parts of a job, loaded, their artifacts made by another process as in a run."""
    cache = Cache(Path(job.run.cache_dir))
    try:
        parts = gather(job, cache.require)
    except Missing:
        build_in_subprocess(job)
        parts = gather(job, cache.require)
    parts.runtime.load(parts.network, parts.artifact)
    return parts


def infer(parts: Gathered) -> np.ndarray:
    """Return the logits of the evaluation images."""
    runtime, dataset = parts.runtime, parts.dataset
    batches = dataset.batches(dataset.evaluation, BATCH)
    return np.concatenate([runtime.answers(images)["logits"][:count] for images, count in batches])


def logits_of(outputs: Any) -> np.ndarray:
    """Return a step's own outputs as an array: a tensor, a list of one array, or a request."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float().numpy()
    return outputs[0] if isinstance(outputs, list) else outputs.get_output_tensor().data


@pytest.fixture(scope="session")
def reference(job) -> np.ndarray:
    """The logits of torch in fp32."""
    return infer(opened(job))


def launch(job: Job) -> WorkerLaunch:
    """Return a worker's launch with nothing in its environment but what it cannot do without."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    compiled = {"TORCHINDUCTOR_CACHE_DIR": str(Path(job.run.cache_dir) / "inductor")}
    return WorkerLaunch(
        [sys.executable, "-P", "-m", "runner.worker"], kept | compiled | {"PYTHONPATH": str(PROJECT)}, job
    )


def test_every_thread_that_sends_torch_a_request_computes_with_its_own_number(job):
    """With one request per core each computes alone: a new thread would else take OpenMP's default, all cores."""
    settings = Settings("fp32", BATCH, 2, "contiguous", "async", 2)
    module = TorchModule(settings)
    found: list[int] = []

    def pools(batch: object) -> None:
        found.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")

    before = torch.get_num_threads()
    try:
        module._module = pools
        step = module.bind(np.zeros((BATCH, 3, 8, 8), np.float32))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(step).result()
    finally:
        torch.set_num_threads(before)
    assert found[0] == 1


@pytest.mark.parametrize(("backend", "precision"), IN_PROCESS)
def test_logits_agree_with_fp32(job, reference, backend, precision):
    """Every runtime computes the same network: to rounding in fp32, to its arithmetic's noise otherwise."""
    parts = opened(change_job(job, backend=backend, precision=precision))
    [images, *_] = [images for images, _ in parts.dataset.batches(parts.dataset.evaluation, BATCH)]
    logits = parts.runtime.answers(images)["logits"]
    assert (logits.shape, logits.dtype) == ((BATCH, 10), np.float32)
    kept_db = sqnr_db(infer(parts), reference)
    if (backend, precision) == ("torch", "fp32"):
        assert kept_db is None  # the same logits, bit for bit
    else:
        assert kept_db > MIN_SQNR_DB[precision]
        if precision == "int8" or (precision == "bf16" and HAS_BF16):
            assert kept_db < MIN_SQNR_DB["fp32"]  # without any noise it would be fp32 under another name


def test_torch_int8_agrees_with_fp32(job, reference, tmp_path):
    """The quantised program, compiled by inductor in a worker, keeps the logits of the images and their order."""
    int8 = change_job(job, precision="int8")
    with Worker(launch(int8), tmp_path / "worker.log") as worker:
        loaded = worker.ask(Load(int8), Loaded, timeout_s=400)
        worker.ask(Evaluate(str(tmp_path / "logits.npz"), cached=False), Evaluated, timeout_s=60)
    assert loaded.artifact_mib > 1
    with np.load(tmp_path / "logits.npz") as stored:
        logits, labels = stored["logits"], stored["labels"]
    assert (logits.shape, logits.dtype, labels.shape) == ((SAMPLES, 10), np.float32, (SAMPLES,))
    assert MIN_SQNR_DB["int8"] < sqnr_db(logits, reference) < 60


def test_channels_last_gives_the_same_logits(job, reference):
    """The memory format is a layout, not another function."""
    parts = opened(change_job(job, memory_format="channels_last"))
    images, _ = next(parts.dataset.batches(parts.dataset.evaluation, BATCH))
    assert next(parts.runtime._module.parameters()).stride()[1] == 1  # it did take effect: channels are innermost
    np.testing.assert_allclose(parts.runtime.answers(images)["logits"], reference[:BATCH], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("backend", "precision"), IN_PROCESS)
def test_step_keeps_its_images_alive(job, backend, precision):
    """A step outlives the caller's reference to its images, gives the same answer again, and frees them in the end.

    OpenVINO's tensor shares the array's memory without owning it: this was a crash.
    """
    parts = opened(change_job(job, backend=backend, precision=precision))
    images, _ = next(parts.dataset.batches(parts.dataset.evaluation, BATCH))
    alive = weakref.ref(images)
    step = parts.runtime.bind(images)
    first = logits_of(step()).copy()
    shape = images.shape
    del images
    gc.collect()
    assert alive() is not None
    garbage = [np.full(shape, value, np.float32) for value in range(20)]  # would land in memory that had been freed
    np.testing.assert_array_equal(logits_of(step()), first)
    del garbage, step
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("backend", ["torch", "ort", "openvino"])
def test_each_step_infers_its_own_images(job, reference, backend):
    """Two steps bound to two batches do not mix them up, in whatever order they run."""
    parts = opened(change_job(job, backend=backend))
    batches = [images for images, _ in parts.dataset.batches(parts.dataset.evaluation, BATCH)]
    steps = [parts.runtime.bind(images) for images in batches]
    for number in (2, 0, 1, 0):
        expected = reference[number * BATCH : (number + 1) * BATCH]
        assert (sqnr_db(logits_of(steps[number]()), expected) or np.inf) > MIN_SQNR_DB["fp32"]


def test_ort_refuses_bf16_and_names_what_can_be_had(job):
    """Refused when the runtime is made, before anything is exported."""
    with pytest.raises(Unsupported, match="take precision=int8 here, or backend=openvino or torch for bf16"):
        gather(change_job(job, backend="ort", precision="bf16"), Cache(Path(job.run.cache_dir)).require)


def test_a_measured_process_never_makes_its_artifacts(job, tmp_path):
    """With an empty cache another process exports the network: the worker never loads torch for it.

    The second worker finds the export, and both answer alike.
    """
    fresh = change_job(job, backend="ort", weights="random", image_size=32, cache_dir=str(tmp_path / "cache"))
    answers, rebuilt = [], []
    for number in range(2):
        with Worker(launch(fresh), tmp_path / f"{number}.log") as worker:
            phases: list[str] = []
            rebuilt.append(worker.ask(Load(fresh), Loaded, timeout_s=200, on_phase=phases.append).rebuilt)
            assert ("build" in phases) == bool(rebuilt[-1])
            libraries = Path(f"/proc/{worker.pid}/maps").read_text()
            assert ("onnxruntime" in libraries, "libtorch" in libraries) == (True, False)
            path = tmp_path / f"{number}.npz"
            worker.ask(Evaluate(str(path), cached=False), Evaluated, timeout_s=60)
        with np.load(path) as stored:
            answers.append(stored["logits"])
    assert rebuilt == [["digits", "onnx"], []]
    np.testing.assert_array_equal(*answers)
