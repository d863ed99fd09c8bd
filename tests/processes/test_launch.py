"""The process of a configuration: command line, environment and job."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from runner.config.composition import compose_settings, typed
from runner.config.labels import describe
from runner.config.schema import RunConfig
from runner.job import Expectations
from runner.machine import libraries as machine_libraries
from runner.machine.facts import Machine
from runner.machine.topology import PhysicalCore, Topology
from runner.paths import PROJECT
from runner.processes import launch as launching
from runner.processes.launch import QUIET, WorkerLaunch, build_launch, build_launches
from runner.processes.placement import bind, share
from runner.processes.worker import Worker
from runner.protocol import BACKENDS_VARIABLE
from runner.results.status import RunFailed, Status

THREE_CORES = Machine(
    cpu="a processor",
    architecture="x86_64",
    cores=[2, 5, 6],
    quota_cores=None,
    memory_gib=8.0,
    isa=["AVX2"],
    thp_mode="madvise",
    kernel="6.1",
    c_library="glibc 2.36",
)
HARMLESS = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/ada",
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TMPDIR": "/scratch",
    "HTTPS_PROXY": "http://proxy:3128",
    "SSL_CERT_FILE": "/etc/certs.pem",
}
HARMFUL = {
    "OMP_NUM_THREADS": "1",
    "OMP_PROC_BIND": "close",
    "KMP_AFFINITY": "granularity=fine",
    "KMP_BLOCKTIME": "0",
    "MKL_NUM_THREADS": "1",
    "LD_PRELOAD": "/usr/lib/libtcmalloc.so.4",
    "LD_LIBRARY_PATH": "/opt/mine",
    "MALLOC_CONF": "narenas:1",
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",
    "ONEDNN_VERBOSE": "1",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "TORCH_COMPILE_DEBUG": "1",
    "PYTHONPATH": "/home/ada/hacks",
    "PYTHONHASHSEED": "7",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
}


def configure(*overrides: str) -> RunConfig:
    """Return the configuration of a command line."""
    return typed(compose_settings(overrides))


def launched(*overrides: str, ambient: dict[str, str] | None = None, machine: Machine = THREE_CORES) -> WorkerLaunch:
    """Return the launch for a command line, by default on a machine with three cores."""
    return build_launch(configure(*overrides), machine, HARMLESS if ambient is None else ambient)


@pytest.fixture(autouse=True)
def _composing(hydra_context):
    """Every test here composes real command lines."""


@pytest.fixture
def libraries(tmp_path, monkeypatch) -> Path:
    """The only folder that is searched for libraries."""
    monkeypatch.setattr(machine_libraries, "library_folders", lambda: [tmp_path])
    return tmp_path


@pytest.mark.parametrize("backend", ["torch", "ort", "openvino"])
def test_only_the_allow_list_reaches_a_worker(backend):
    """Variables for locations and network access pass; all other variables of the caller have no effect."""
    clean, noisy = launched(f"backend={backend}"), launched(f"backend={backend}", ambient=HARMLESS | HARMFUL)
    assert noisy == clean
    own = {"PYTHONPATH", "PYTHONHASHSEED", "TORCHINDUCTOR_CACHE_DIR"}
    own |= set(QUIET) | set(configure(f"backend={backend}").backend.env)
    assert {name: value for name, value in noisy.env.items() if name not in own} == HARMLESS
    assert set(noisy.env) & set(HARMFUL) == {"PYTHONPATH", "PYTHONHASHSEED"}
    assert (noisy.env["PYTHONPATH"], noisy.env["PYTHONHASHSEED"]) == (str(PROJECT), "0")


def test_a_library_path_that_this_process_needs_reaches_a_worker(monkeypatch):
    """An interpreter outside the system's folders could not start without it."""
    monkeypatch.setattr(launching, "mapped_files", lambda: frozenset({"/opt/python/lib/libpython3.11.so"}))
    needed = "/elsewhere:/opt/python/lib"
    assert launched(ambient=HARMLESS | {"LD_LIBRARY_PATH": needed}).env["LD_LIBRARY_PATH"] == needed
    assert "LD_LIBRARY_PATH" not in launched(ambient=HARMLESS | {"LD_LIBRARY_PATH": "/opt/pytho"}).env


def test_layout_is_fixed_or_random():
    """measure=standard fixes the hash seed and the address layout; measure=publish randomises both."""
    fixed, drawn = launched("measure=standard"), launched("measure=publish")
    assert fixed.env["PYTHONHASHSEED"] == "0"
    assert "PYTHONHASHSEED" not in drawn.env
    config = typed(compose_settings(["measure=standard"]))
    permitted = replace(THREE_CORES, fixed_layout=["setarch", "-R"])
    launch = build_launch(config, permitted, {})
    assert launch.argv[:2] == ["setarch", "-R"]
    assert launch.job.expectations.layout == "fixed"


def test_worker_runs_in_this_interpreter():
    """Without a prefix or a shell."""
    assert launched().argv == [sys.executable, "-m", "runner.worker"]


def test_the_run_folder_is_not_searched_for_modules(tmp_path):
    """Files in the worker's current folder are not importable."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the current folder')")
    with Worker(launched(), tmp_path / "worker.log") as worker:
        assert worker.alive()


def test_allocator_is_preloaded(libraries):
    """The first existing name is preloaded, and the worker expects the real file behind the link, as maps show it."""
    (libraries / "libjemalloc.so.2.1").touch()
    (libraries / "libjemalloc.so.2").symlink_to("libjemalloc.so.2.1")
    (libraries / "libjemalloc.so").touch()
    launch = launched("allocator=jemalloc", ambient=HARMLESS | HARMFUL)
    assert launch.env["LD_PRELOAD"] == str(libraries / "libjemalloc.so.2")
    assert launch.job.expectations == Expectations(
        layout="forbidden",  # this machine does not permit setarch
        allocator="jemalloc",
        allocator_library=str((libraries / "libjemalloc.so.2.1").resolve()),
    )


def test_instances_have_separate_cores():
    """Two instances on three cores get one core and one thread each; one core is unused."""
    config = configure("instances=2")
    first, second = build_launches(config, THREE_CORES, HARMLESS)
    assert first.argv[1:] == ["--cpu-list", "2", sys.executable, "-m", "runner.worker"]
    assert second.argv[1:3] == ["--cpu-list", "5"]
    assert (first.job.engine.threads, first.env["OMP_NUM_THREADS"]) == (1, "1")
    assert second.job.expectations.cores == [5]
    assert share(THREE_CORES, 3, 1) == [5]


HYPER_THREADS = replace(
    THREE_CORES,
    cores=list(range(8)),
    topology=Topology(tuple(PhysicalCore(0, 0, (core, core + 4)) for core in range(4))),
)
"""Four cores with two threads each; the second threads are numbered after all first threads, as on Linux."""


def test_physical_cores_use_one_thread_each():
    """The worker is bound to the first thread of each core; two instances get two cores each."""
    launch = launched("threading=physical_cores", machine=HYPER_THREADS)
    assert launch.argv[1:3] == ["--cpu-list", "0,1,2,3"]
    assert (launch.job.engine.threads, launch.job.expectations.cores) == (4, [0, 1, 2, 3])
    configuration = configure("threading=physical_cores", "instances=2")
    launches = build_launches(configuration, HYPER_THREADS, HARMLESS)
    assert [one.job.expectations.cores for one in launches] == [[0, 1], [2, 3]]


def test_instances_share_no_physical_core():
    """Halving the sorted list of CPUs would give each instance one thread of every core."""
    launches = build_launches(configure("instances=2"), HYPER_THREADS, HARMLESS)
    assert [one.job.expectations.cores for one in launches] == [[0, 1, 4, 5], [2, 3, 6, 7]]


@pytest.mark.parametrize(
    ("quota", "overrides", "threads"),
    [
        (None, (), None),  # the runtime's default applies
        (8.0, (), None),
        (2.0, (), 2),
        (2.5, (), 3),  # rounded up: the third thread uses the remaining half core
        (2.0, ("threading=all_cores",), 2),
        (2.0, ("threading=one_thread",), 1),
        (2.0, ("instances=2",), 1),
        (0.3, (), 1),
    ],
)
def test_quota_limits_threads(quota, overrides, threads):
    """A pod with two CPUs on a large node does not start a thread per core of the node."""
    launch = launched(*overrides, machine=replace(HYPER_THREADS, quota_cores=quota))
    assert launch.job.engine.threads == threads


def test_instances_use_local_memory_on_several_nodes():
    """numactl binds both cores and memory."""
    if shutil.which("numactl") is None:
        pytest.skip("numactl is not installed")
    assert bind([0, 1], replace(THREE_CORES, numa_nodes=2))[1:] == ["--physcpubind=0,1", "--localalloc"]


def test_pytorch_launcher_starts_the_worker(libraries):
    """It receives the allocator and the instance, and finds its libraries in this virtual environment."""
    for name in ("libiomp5.so", "libtcmalloc.so.4"):
        (libraries / name).touch()
    config = configure("threading=xeon_run_cpu", "allocator=tcmalloc", "instances=3")
    launch = build_launches(config, THREE_CORES, HARMLESS)[2]
    launcher = ["-m", "torch.backends.xeon.run_cpu", "--ninstances=3", "--rank=2", "--enable-tcmalloc", "--no-python"]
    tether = [shutil.which("setpriv"), "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    assert launch.argv == [*tether, sys.executable, *launcher, sys.executable, "-m", "runner.worker"]
    assert launch.env["VIRTUAL_ENV"] == sys.prefix
    assert launch.env["LD_PRELOAD"] == f"{libraries / 'libtcmalloc.so.4'}:{libraries / 'libiomp5.so'}"
    assert launch.job.expectations.openmp == str((libraries / "libiomp5.so").resolve())


@pytest.mark.parametrize("threading", ["xeon_run_cpu", "intel_openmp"])
def test_missing_openmp_runtime_is_unavailable(libraries, threading):
    """The reason names the command that installs it."""
    with pytest.raises(
        RunFailed, match=rf"threading={threading} is not installed \(libiomp5.so\): run make setup"
    ) as caught:
        launched(f"threading={threading}")
    assert caught.value.status is Status.unavailable


def test_openmp_is_unsupported_with_other_thread_pools():
    """OpenMP settings have no effect on a runtime with its own threads."""
    with pytest.raises(RunFailed, match="threading=intel_openmp sets OpenMP, which backend=ort does not use"):
        launched("threading=intel_openmp", "backend=ort")


def test_backend_with_its_own_environment(monkeypatch, tmp_path):
    """Its Python measures and this one makes artifacts; if it is missing, the reason names the install command."""
    monkeypatch.setattr("runner.paths.CHECKOUT", tmp_path)
    with pytest.raises(RunFailed, match="backend=ipex is not installed: run make ipex") as caught:
        launched("backend=ipex")
    assert caught.value.status is Status.unavailable
    python = tmp_path / ".venvs" / "ipex" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    launch = launched("backend=ipex")
    assert launch.argv == [str(python), "-m", "runner.worker"]
    assert launch.job.engine.environment == "ipex"
    assert launch.job.run.environments["host"].python == sys.executable
    assert launch.job.run.environments["ipex"].python == str(python)


def test_missing_allocator_is_unavailable(libraries):
    """The reason lists the searched file names and the install command; the system allocator always exists."""
    with pytest.raises(RunFailed) as failed:
        launched("allocator=jemalloc")
    assert failed.value.status is Status.unavailable
    assert failed.value.reason == (
        "allocator=jemalloc is not installed (libjemalloc.so.2, libjemalloc.so): run make system"
    )
    system = launched("allocator=system")
    assert "LD_PRELOAD" not in system.env
    assert (system.job.expectations.allocator, system.job.expectations.allocator_library) == ("system", "")


@pytest.mark.parametrize("name", ["tcmalloc", "jemalloc", "mimalloc"])
def test_preloaded_allocator_is_in_the_process(name):
    """A process that is started with the environment has the library in its maps."""
    if machine_libraries.find_library(configure(f"allocator={name}").allocator.libraries) is None:
        pytest.skip(f"{name} is not installed on this machine")
    launch = launched(f"allocator={name}")
    program = "print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", program], env=launch.env, capture_output=True, text=True, check=True)
    assert launch.job.expectations.allocator_library in done.stdout
    assert done.stderr == ""  # where ld.so reports a failed preload


def test_threading_reaches_openmp_runtimes_only():
    """Only torch gets OMP_* variables; the other runtimes get the number of threads in their job."""
    torch, ort, openvino = (launched("threading=all_cores", f"backend={name}") for name in ("torch", "ort", "openvino"))
    assert torch.env["OMP_NUM_THREADS"] == "3"
    assert launched("threading=active_wait", "backend=torch").env["OMP_WAIT_POLICY"] == "ACTIVE"
    for other in (ort, openvino):
        assert [name for name in other.env if name.startswith(("OMP_", "KMP_"))] == []
    assert [launch.job.engine.threads for launch in (torch, ort, openvino)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("threading", "threads", "variable"),
    [("default", None, None), ("all_cores", 3, "3"), ("one_thread", 1, "1")],
)
def test_threads(threading, threads, variable):
    """0 means one per usable core; None keeps the runtime's default and sets no variable."""
    launch = launched(f"threading={threading}", "backend=torch")
    assert launch.job.engine.threads == threads
    assert launch.env.get("OMP_NUM_THREADS") == variable


def test_huge_pages_are_requested_by_environment():
    """hugepages=thp sets both variables, hugepages=off none, and the worker gets the expectation."""
    names = ("THP_MEM_ALLOC_ENABLE", "GLIBC_TUNABLES")
    with_pages, without = launched("hugepages=thp"), launched("hugepages=off", ambient=HARMLESS | HARMFUL)
    assert [with_pages.env.get(name) for name in names] == ["1", "glibc.malloc.hugetlb=1"]
    assert [without.env.get(name) for name in names] == [None, None]
    assert with_pages.job.expectations.hugepages == "thp"


def test_openvino_can_run_with_a_preloaded_allocator():
    """TBB_ENABLE_SANITIZERS is set for OpenVINO only."""
    assert {name: launched(f"backend={name}").env.get("TBB_ENABLE_SANITIZERS") for name in ("torch", "ort")} == {
        "torch": None,
        "ort": None,
    }
    assert launched("backend=openvino").env["TBB_ENABLE_SANITIZERS"] == "1"


def test_equal_configurations_give_equal_launches():
    """So that a worker can be reused; every setting that affects the process makes a different launch."""
    assert launched("seed=1") == launched("seed=1", "measure=quick", "tracking=none")
    for other in (
        "seed=2",
        "batch_size=4",
        "precision=bf16",
        "threading=one_thread",
        "hugepages=thp",
        "data=synthetic",
    ):
        assert launched("seed=1") != launched("seed=1", other), other


def test_paths_are_absolute(tmp_path, monkeypatch):
    """A worker has another current folder, so it must not get relative paths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "a.png")
    launch = launched(
        *("output_dir=mine", "weights=file", "weights.path=net.pt", "data=image_folder", "data.path=images"),
        ambient=HARMLESS | {BACKENDS_VARIABLE: "one:/two"},
    )
    assert launch.job.run.cache_dir == str(tmp_path / "mine" / "cache")
    assert launch.env["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "mine" / "cache" / "inductor")
    assert launch.job.subject.weights_path == str(tmp_path / "net.pt")
    assert launch.job.data.path == str(tmp_path / "images")
    assert launch.env[BACKENDS_VARIABLE] == f"{tmp_path / 'one'}:/two"


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ([], "resnet50 torch fp32 batch 8"),
        (["model=resnet18", "backend=ort", "precision=int8", "batch_size=1"], "resnet18 ort int8 batch 1"),
        (["memory_format=channels_last", "precision=bf16"], "resnet50 torch bf16 channels_last batch 8"),
        (
            ["allocator=jemalloc", "hugepages=thp", "threading=one_thread"],
            "resnet50 torch fp32 jemalloc thp one_thread batch 8",
        ),
        (["+backend.options.fault=hang", "+backend.options.at=step"], "resnet50 torch fp32 fault=hang at=step batch 8"),
    ],
)
def test_describe(overrides, text):
    """Lists the options that differ from the defaults; the launch has the same label."""
    assert describe(configure(*overrides)) == text
    if "allocator=jemalloc" not in overrides or machine_libraries.find_library(["libjemalloc.so.2"]):
        assert launched(*overrides).label == text


def test_missing_custom_allocator_library():
    """The run is `unavailable`, and the reason names the install command."""
    config = configure("allocator=tcmalloc", "allocator.libraries=[libnowhere.so]")
    with pytest.raises(RunFailed, match=r"allocator=tcmalloc is not installed.*make system") as caught:
        build_launch(config, THREE_CORES, {})
    assert caught.value.status == "unavailable"
