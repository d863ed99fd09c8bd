"""Settings that did not take effect, on purpose, and the evidence that contradicts them."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13

from runner.analysis.findings import contradictions, is_partly_quantised, lines, summary
from runner.job import Job
from runner.paths import PROJECT
from runner.processes.launch import WorkerLaunch
from runner.processes.worker import Worker
from runner.protocol import CONTRADICTED, UNKNOWN, VERIFIED, Finding, Load, Loaded, Observe, Observed
from runner.results.files import load
from runner.results.status import Status
from runner.worker.evidence import arithmetic, onednn, openvino_graph, ort_profile, settings
from runner.worker.evidence.arithmetic import Work
from runner.worker.evidence.busy import Busy
from tests.conftest import FAKE, TESTS, RunProgram
from tests.jobs import change_job
from tests.worker.backends.test_backends import HAS_BF16, PROBE, launch, opened

PR_SET_THP_DISABLE = 41  # <linux/prctl.h>
LIAR = (
    "backend=liar",
    "weights=random",
    "model=resnet18",
    "model.image_size=32",
    "data.evaluation_samples=16",
    "data.calibration_samples=8",
    "measure=quick",
    "measure.slice_s=0.05",
    "measure.warmup_s=0.1",
    "measure.guards=false",
    "tracking=none",
    'baseline=["backend=liar","backend.options.lie=","threading=default"]',
    'reference=["backend=liar","backend.options.lie=","threading=default"]',
)
TWO_THREADS = Busy(threads=2, cores_used=1.9, cores=frozenset({0, 1}))
ROLLUP = "AnonHugePages:    {huge} kB\nAnonymous:   409600 kB\n"


@pytest.fixture(scope="session")
def job(tmp_path_factory) -> Job:
    """The job of test_backends.py, with its cache."""
    return change_job(PROBE, cache_dir=str(tmp_path_factory.getbasetemp() / "artifacts"))


def observed(job: Job, log: Path, env: dict[str, str] | None = None) -> dict[str, Finding]:
    """Return the findings of a job's worker by knob.

    Args:
        job: the job.
        log: the worker's log file.
        env: additional environment variables.
    """
    plain = launch(job)
    with Worker(WorkerLaunch(plain.argv, plain.env | (env or {}), job), log) as worker:
        worker.request(Load(job), Loaded, timeout_s=300)
        return {
            finding.knob: finding for finding in worker.request(Observe(watch_s=0.2), Observed, timeout_s=60).evidence
        }


# --- contradictions in whole runs --------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("threading=all_cores", "backend.options.lie=threads"), "threads: requested "),
        (("backend.options.lie=affinity",), "affinity: requested cores "),
        (
            ("backend.options.lie=recompilation",),
            "recompilations: requested none while timed, observed graphs compiled: ",
        ),
        (
            ("+threading.env.KMP_BLOCKTIME=1",),
            "variables: requested KMP_BLOCKTIME=1, observed KMP_BLOCKTIME ignored by ",
        ),
    ],
    ids=["OMP_NUM_THREADS overridden", "affinity shrunk", "recompilation", "KMP with libgomp"],
)
def test_a_contradicted_setting_makes_the_run_invalid(run_program: RunProgram, overrides, reason):
    """Its number is stored in result.json but not shown; reason and remedy are one line."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    done = run_program(*LIAR, *overrides, "--wide")
    [result] = done.results()
    assert (result.status, done.code) == (Status.invalid, 1), result.reason
    assert result.reason.startswith(reason)
    assert "\n" not in result.reason
    assert (result.measurement, result.shown) == (None, None)  # it is not measured further
    row = next(line for line in done.out.splitlines() if line.startswith("│") and "liar" in line)
    assert "×" not in row
    assert "✗" in row


@pytest.mark.alone
def test_the_same_backend_without_a_fault_is_verified(run_program: RunProgram):
    """The control of the test above."""
    [result] = run_program(*LIAR, "threading=all_cores").results()
    assert result.status is Status.ok, result.reason
    assert {finding.state for finding in result.evidence} == {VERIFIED}
    assert summary(result.evidence).endswith("✓")


def test_a_preload_that_ld_so_refuses(run_program: RunProgram):
    """The file exists, so it is preloaded; ld.so reports in the log that it is not a library."""
    broken = Path(sys.prefix) / "lib" / f"libbroken-{os.getpid()}.so"  # libraries are found in known folders only
    broken.write_text("not a library")
    try:
        done = run_program(*LIAR, "allocator=tcmalloc", f"allocator.libraries=[{broken.name}]")
    finally:
        broken.unlink()
    [result] = done.results()
    assert result.status is Status.invalid
    assert "cannot be preloaded" in result.reason
    assert result.reason.endswith("run make system")


def test_huge_pages_that_the_kernel_does_not_give(environment, tmp_path):
    """With huge pages disabled for the process, as in the kernel's mode `never`, the setting has no effect."""
    command = [sys.executable, "-m", "runner", "--config-dir", str(TESTS / "conf"), *LIAR, "hugepages=thp"]
    subprocess.run(
        [*command, f"output_dir={tmp_path}"],
        cwd=PROJECT,
        env=environment,
        check=False,
        capture_output=True,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0),
    )
    [result] = [load(path) for path in tmp_path.glob("sweeps/*/*/result.json")]
    assert result.status is Status.invalid
    assert result.reason.startswith("hugepages: requested thp, observed 0 of ")
    assert "disabled for this process" in result.reason


def test_evidence_that_fails_is_unknown_and_the_run_is_ok(run_program: RunProgram):
    """The finding contains the error."""
    [result] = run_program(*FAKE, "backend.options.fault=mute").results()
    assert result.status is Status.ok
    [precision] = [finding for finding in result.evidence if finding.knob == "precision"]
    assert (precision.state, precision.observed) == (UNKNOWN, "RuntimeError: the fake has no evidence")


# --- contradictions in one process -------------------------------------------------------------------------


def test_a_preload_that_does_not_exist(job, tmp_path):
    """ld.so continues without it."""
    missing = "/nowhere/libtcmalloc.so"
    faulty = change_job(job, allocator="tcmalloc", allocator_library=missing)
    finding = observed(faulty, tmp_path / "log", {"LD_PRELOAD": missing})["allocator"]
    assert finding.state == CONTRADICTED
    assert f"object '{missing}' from LD_PRELOAD cannot be preloaded" in finding.observed


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16 arithmetic: OpenVINO runs fp32 with any hint")
def test_openvino_without_the_f32_hint(job, monkeypatch):
    """By default, it lowers fp32 to bf16; the precision of the executed layers counts."""
    from runner.worker.backends import openvino

    monkeypatch.setitem(openvino.PROPERTIES, "fp32", {"INFERENCE_PRECISION_HINT": "bf16"})
    parts = opened(change_job(job, backend="openvino"))
    [finding] = parts.runtime.evidence(parts.probe)
    assert (finding.asked, finding.state) == ("fp32", CONTRADICTED)
    assert finding.observed.startswith("100.0 % bf16 of multiply-accumulates, 21 operations")


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_int8_left_unquantised(job, backend):
    """The fp32 graph, loaded where an int8 graph is requested."""
    exported = opened(change_job(job, backend=backend, precision="fp32"))
    faulty = opened(change_job(job, backend=backend, precision="int8"))
    swapped = dataclasses.replace(faulty, model=exported.model)
    swapped.load()
    [finding] = swapped.runtime.evidence(swapped.probe)
    assert finding.state == CONTRADICTED
    assert finding.observed.startswith("100.0 % fp32")
    assert "quantiser" in finding.remedy


def test_torch_autocast_left_out(job, monkeypatch):
    """bf16 is requested, and the module runs without autocast."""
    import torch

    parts = opened(change_job(job, backend="torch", precision="bf16"))
    monkeypatch.setattr(parts.runtime, "autocast", lambda: torch.autocast("cpu", torch.bfloat16, enabled=False))
    [finding] = parts.runtime.evidence(parts.probe)
    assert (finding.state, finding.facts) == (CONTRADICTED, {"fp32": 1.0})


@pytest.mark.parametrize(
    ("backend", "precision", "min_share"),
    [
        ("torch", "fp32", 1.0),
        pytest.param("torch", "bf16", 0.99, marks=pytest.mark.skipif(not HAS_BF16, reason="no bf16 arithmetic")),
        ("ort", "fp32", 1.0),
        ("ort", "int8", 0.95),
        ("openvino", "fp32", 1.0),
        pytest.param("openvino", "bf16", 0.99, marks=pytest.mark.skipif(not HAS_BF16, reason="no bf16 arithmetic")),
        ("openvino", "int8", 0.95),
    ],
)
def test_every_runtime_proves_its_precision(job, backend, precision, min_share):
    """By the executed operations: ResNet-18 has 20 convolutions and one linear layer, and its shares sum to 1."""
    parts = opened(change_job(job, backend=backend, precision=precision))
    [finding] = parts.runtime.evidence(parts.probe)
    assert (finding.knob, finding.state) == ("precision", VERIFIED), finding
    assert ", 21 operations" in finding.observed
    shares = {name: share for name, share in finding.facts.items() if not name.startswith("qdq")}
    assert shares[precision] >= min_share
    assert sum(shares.values()) == pytest.approx(1)


# --- single observations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "huge", "mode", "state"),
    [
        ("thp", 204800, "always [madvise] never", VERIFIED),
        ("thp", 0, "always madvise [never]", CONTRADICTED),
        ("thp", 0, "always [madvise] never", CONTRADICTED),
        ("off", 0, "always [madvise] never", VERIFIED),
        ("thp", 2048, "always [madvise] never", UNKNOWN),
        ("off", 2048, "always [madvise] never", VERIFIED),
        ("off", 204800, "[always] madvise never", UNKNOWN),
    ],
)
def test_huge_pages(requested, huge, mode, state):
    """Requested and provided; requested in the mode `never`; no large allocation; provided without a request."""
    finding = settings.hugepages(requested, ROLLUP.format(huge=huge), "THP_enabled:\t1\n", mode)
    assert finding.state == state
    assert ("echo madvise" in finding.remedy) == ("[never]" in mode)
    assert finding.observed.startswith(f"{huge // 1024} of 400 MiB anonymous memory in huge pages")


def test_more_threads_than_requested_contradict_and_fewer_are_unknown():
    """An additional pool; a network too small for its threads."""
    found = [settings.threads(None, requested, 2, TWO_THREADS, "").state for requested in (None, 1, 2, 4)]
    assert found == [VERIFIED, CONTRADICTED, VERIFIED, UNKNOWN]


def test_threads_that_share_a_core_while_others_are_idle(monkeypatch):
    """Two threads on one of two cores; one thread pinned to a core; a process bound to its cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    crowded = Busy(threads=2, cores_used=1.0, cores=frozenset({0}))
    pinned = Busy(threads=1, cores_used=1.0, cores=frozenset({0}))
    four = {0, 1, 2, 3}
    assert settings.affinity({0, 1}, set(), None, TWO_THREADS).state == VERIFIED
    assert settings.affinity({0, 1}, set(), None, crowded).state == CONTRADICTED
    assert settings.affinity({0, 1}, set(), 1, pinned).state == VERIFIED
    assert settings.affinity({0, 1}, {1}, 1, pinned).state == CONTRADICTED
    assert settings.affinity(four, set(), None, TWO_THREADS).state == UNKNOWN  # one thread for each physical core
    assert settings.affinity(four, set(), None, Busy(0, 0, frozenset())).state == UNKNOWN  # no CPU times reported
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert settings.affinity(four, set(), None, pinned).state == CONTRADICTED  # the process's own mask shrank


def test_an_instruction_set_that_was_forbidden(monkeypatch):
    """A variable that restricts the instruction sets of oneDNN."""
    assert settings.isa({}).state == VERIFIED
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = settings.isa({})
    assert (found.state, found.observed.split(",")[0]) == (CONTRADICTED, "ONEDNN_MAX_CPU_ISA=AVX2")
    assert settings.isa({"ONEDNN_MAX_CPU_ISA": "AVX2"}).state == VERIFIED  # requested


def test_a_variable_that_was_changed(monkeypatch):
    """A launcher may set its own value."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    finding = settings.variables({"OMP_WAIT_POLICY": "ACTIVE"}, "")
    assert (finding.state, finding.observed) == (CONTRADICTED, "OMP_WAIT_POLICY=PASSIVE")


def test_preloaded_openmp_reads_its_own_variables(monkeypatch):
    """KMP_* take effect if Intel's runtime is mapped."""
    monkeypatch.setenv("KMP_BLOCKTIME", "1")
    maps = "7f00-7f01 r-xp 0 00:00 1 /usr/lib/{}\n"
    states = [
        settings.variables({"KMP_BLOCKTIME": "1"}, maps.format(name)).state for name in ("libiomp5.so", "libgomp.so.1")
    ]
    assert states == [VERIFIED, CONTRADICTED]


def test_precision_is_weighed_by_the_work():
    """90 % in int8 are sufficient, 70 % are not; fp32 needs all of it."""

    def judged(requested, *works):
        return arithmetic.precision(requested, [Work(*work) for work in works], "work", "here", expected=10).state

    assert judged("int8", ("int8", 9), ("fp32", 1)) == VERIFIED
    assert judged("int8", ("int8", 7), ("fp32", 3)) == CONTRADICTED
    assert judged("fp32", ("fp32", 9.9), ("bf16", 0.1)) == CONTRADICTED
    assert judged("bf16") == UNKNOWN


def test_unobserved_work_is_unknown():
    """A library does not report half of the work; 5 % may be missing."""
    half, most, unknown = (
        arithmetic.precision("fp32", [Work("fp32", amount)], "work", "here", expected=expected)
        for amount, expected in ((50, 100), (95, 100), (95, 0))
    )
    assert (half.state, most.state, unknown.state) == (UNKNOWN, VERIFIED, UNKNOWN)
    assert half.observed.endswith("50.0 % of the network's work was not observed")
    assert unknown.observed.endswith("how much work the model has is not known")


ONEDNN = [
    "onednn_verbose,v1,info,oneDNN v3.7.1",
    "onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:abcd::f0 dst:bf16,,,8x3x224x224,0.4",
    "onednn_verbose,v1,primitive,exec,cpu,convolution,brgconv:avx512_core_vnni,forward_inference,"
    "src:u8:a:blocked:acdb::f0 wei:s8:a:blocked:ABcd::f8 bia:undef dst:u8:a,attr-scratchpad:user,"
    "alg:convolution_direct,mb8_ic64oc128_ih56oh28kh3sh2dh0ph1_iw56ow28kw3sw2dw0pw1,0.5",
    "onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx512_core,forward_inference,"
    "src:f32::blocked:acdb wei:f32:a dst:f32,attr-fpmath:bf16,alg:convolution_direct,"
    "mb1_g32ic32oc32_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,0.1",
    "onednn_verbose,v1,primitive,exec,cpu,inner_product,brgemm:avx512_core,forward_inference,"
    "src:f32::blocked:ab wei:f32 dst:f32,,,mb8ic2048oc1000,0.2",
    "onednn_verbose,v1,primitive,exec,cpu,matmul,brg_matmul:avx512_core_bf16,undef,"
    "src:bf16::blocked:abc wei:bf16 dst:bf16,,,8x197x768:1x768x2304,0.9",
    "MKL_VERBOSE SGEMM(N,T,10,8,512,0x7ffd,0x55,10,0x66,512,0x77,0x88,10) 20.53us CNR:OFF Dyn:1 FastMM:1 TID:0  NThr:2",
    "other output of a library",
]


def test_what_was_not_observed_may_be_as_requested():
    """A tenth in fp32 proves nothing about the rest; a half does. In branches and loops anything may have run."""

    def state(observed: float, expected: float, *, hidden: bool = False) -> str:
        works = [Work("fp32", observed)]
        return arithmetic.precision("int8", works, "work", "here", expected=expected, hidden=hidden).state

    assert state(1, 10) == UNKNOWN
    assert state(5, 10) == CONTRADICTED
    assert state(10, 0) == CONTRADICTED
    assert state(10, 0, hidden=True) == UNKNOWN
    assert state(5, 10, hidden=True) == CONTRADICTED


@pytest.mark.parametrize("partial", [True, False])
def test_what_was_observed_speaks_for_the_whole_if_it_is_nearly_all(partial):
    """95 % observed, none of it int8: the rest does not verify it, whatever it is; nor do 78 % of 90 %."""
    works = [Work("fp32", 9.5)]
    found = arithmetic.precision("int8", works, "work", "here", expected=10, partial=partial)
    assert found.state == CONTRADICTED
    works = [Work("int8", 0.78 * 9), Work("fp32", 0.22 * 9)]
    found = arithmetic.precision("int8", works, "work", "here", expected=10, partial=partial)
    assert found.state == (VERIFIED if partial else CONTRADICTED)


def test_openvinos_graph_hides_what_is_in_a_branch():
    """Whatever the product beside the branch runs in, int8 is neither verified nor contradicted."""
    model = branching()
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = openvino_graph.executed("int8", compiled, openvino_graph.count_work(model), expected=0)
    assert (found.state, found.facts["fp32"]) == (UNKNOWN, 1.0)
    assert "some is in branches or loops" in found.observed


def branching() -> ov.Model:
    """Return a network of a product, and of another one in each branch of an If."""

    def product(values: ov.Node, seed: int) -> ov.Node:
        weights = np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32)
        return opset13.matmul(values, opset13.constant(weights), False, False)

    def branch(seed: int) -> ov.Model:
        values = opset13.parameter([4, 16], np.float32)
        return ov.Model([product(values, seed)], [values])

    values = opset13.parameter([4, 16], np.float32, name="values")
    mean = opset13.reduce_mean(values, opset13.constant(np.array([0, 1])), False)
    node = opset13.if_op(opset13.greater(mean, opset13.constant(np.float32(0))).output(0))
    bodies = [branch(1), branch(2)]
    node.set_then_body(bodies[0])
    node.set_else_body(bodies[1])
    node.set_input(product(values, 0).output(0), *(body.get_parameters()[0] for body in bodies))
    result = node.set_output(*(body.get_results()[0] for body in bodies))
    return ov.Model([result], [values])


def test_verbose_output_is_parsed_by_its_problem_sizes():
    """Multiply-accumulates by hand: outputs × inputs per group × kernel; lowered fp32 counts as the lower precision."""
    assert onednn.parse(ONEDNN) == [
        Work("int8", 8 * 128 * 28 * 28 * 64 * 9, "brgconv:avx512_core_vnni"),
        Work("bf16", 32 * 8 * 8 * 1 * 9, "jit:avx512_core"),
        Work("fp32", 8 * 2048 * 1000, "brgemm:avx512_core"),
        Work("bf16", 8 * 197 * 768 * 2304, "brg_matmul:avx512_core_bf16"),
        Work("fp32", 10 * 8 * 512, "MKL sgemm"),
    ]


def kernel(name, inputs, output, dur=1):
    """Return a profiler's event."""
    return {
        "name": f"/{name}_kernel_time",
        "dur": dur,
        "args": {"op_name": name, "input_type_shape": inputs, "output_type_shape": [output]},
    }


def test_unfused_quantisation_is_counted():
    """Two of four nodes only convert, with three quarters of the time; 90 % of the work is in int8.

    A convolution whose weights' shape is not known is not observed; no other unit takes its place.
    """
    conv = kernel("QLinearConv", [{"uint8": [1, 4, 4, 8]}], {"uint8": [1, 4, 4, 9]})
    gemm = kernel("Gemm", [{"float": [8, 16]}], {"float": [8, 1]})
    unfused = [kernel(name, [], {}, dur=3) for name in ("QuantizeLinear", "DequantizeLinear")]
    total = 1 * 4 * 4 * 9 * 8 + 8 * 16
    finding = ort_profile.precision("int8", [conv, gemm, *unfused], {"/QLinearConv": [9, 8, 1, 1]}, expected=total)
    assert finding.state == VERIFIED
    assert finding.facts == {"int8": 0.9, "fp32": 0.1, "qdq": 2, "qdq_share": 0.75}
    assert "of multiply-accumulates" in finding.observed
    unseen = ort_profile.precision("fp32", [conv, gemm, *unfused], {}, expected=total)
    assert (unseen.state, unseen.facts["fp32"]) == (UNKNOWN, 1.0)
    assert unseen.observed.endswith("90.0 % of the network's work was not observed")


def test_the_summary_counts_each_setting_once_by_its_worst_state():
    """The findings of two instances count as one setting."""
    findings = [
        Finding("threads", "2", "2", VERIFIED, "s"),
        Finding("threads", "2", "3", CONTRADICTED, "s", "take threading=default"),
        Finding("allocator", "system", "system", VERIFIED, "s"),
        Finding("precision", "fp32", "?", UNKNOWN, "s"),
    ]
    assert summary([]) == ""
    assert summary(findings[:1]) == "1/1 ✓"
    assert summary(findings[2:]) == "1/2 ?"
    assert summary(findings) == "1/3 ✗"
    assert contradictions(findings) == ["threads: requested 2, observed 3: take threading=default"]
    assert lines(findings[1:2]) == ["✗ threads: requested 2; observed 3 (s); take threading=default"]


def test_a_quantiser_that_skips_operations_is_no_lie():
    """Some of the work is in integers: such a row is unsupported. Nothing of it, or another setting: invalid."""
    work = arithmetic.Work
    partly = arithmetic.precision("int8", [work("int8", 6), work("fp32", 4)], "macs", "test", expected=10)
    nothing = arithmetic.precision("int8", [work("fp32", 10)], "macs", "test", expected=10)
    lowered = arithmetic.precision("fp32", [work("fp32", 6), work("bf16", 4)], "macs", "test", expected=10)
    threads = Finding("threads", "2", "3", CONTRADICTED, "test")
    assert [is_partly_quantised([one]) for one in (partly, nothing, lowered, threads)] == [True, False, False, False]
    assert not is_partly_quantised([partly, threads])
    assert not is_partly_quantised([])


@pytest.mark.parametrize("name", ["tcmalloc", "jemalloc", "mimalloc"])
def test_an_allocator_responds_through_its_own_interface(job, tmp_path, name):
    """It is preloaded and in use; its name in the maps alone is not sufficient."""
    from runner.machine.libraries import find_library
    from runner.machine.provision import needs

    [need] = [need for need in needs() if need.name == name]
    library = find_library(need.libraries)
    if library is None:
        pytest.skip(f"{name} is not installed: run make system")
    requested = change_job(job, allocator=name, allocator_library=str(library.resolve()))
    assert observed(requested, tmp_path / "with", {"LD_PRELOAD": str(library)})["allocator"].state == VERIFIED
    unrequested = observed(job, tmp_path / "without", {"LD_PRELOAD": str(library)})["allocator"]
    assert (unrequested.state, unrequested.observed) == (CONTRADICTED, name)
