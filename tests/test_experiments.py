"""Every row of every published table composes by itself, has the published numbers, and uses the table's baseline."""

from __future__ import annotations

import math
import shutil

import pytest

from runner.config import composition
from runner.config.checks import check
from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.paths import PROJECT
from runner.processes.placement import share
from runner.results.metrics import row as record_row
from runner.results.status import Status
from tests.conftest import FAKE, TESTS, RunProgram

ROWS = sorted(f"{file.parent.name}={file.stem}" for file in (PROJECT / "experiments").glob("*/*.yaml"))
BATCHED = 26.28
"""Throughput of the batched baseline in Rand 2025, in samples per second."""


def composed(row: str) -> tuple[RunConfig, RunConfig]:
    """Return the configuration of a row and of its baseline."""
    settings = composition.compose_settings([f"+experiments/{row}"])
    config = composition.typed(settings)
    return config, composition.typed(composition.derive(settings, config.baseline))


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.usefixtures("hydra_context")
def test_every_row_composes_by_itself(row):
    """It is valid (except for too few cores here), names its table, and has the batched baseline."""
    config, baseline = composed(row)
    assert [mistake for mistake in check(config) if mistake.field != "instances"] == []
    assert config.row.table == row.split("=", maxsplit=1)[0]
    assert config.row.name
    batch_size = config.batch_size if config.row.table == "optimum_cpu_guide" else 8
    assert (baseline.backend.name, str(baseline.precision.name), baseline.batch_size) == ("torch", "fp32", batch_size)
    assert baseline.scope == config.scope
    assert (baseline.instances, str(baseline.scenario), str(baseline.memory_format)) == (1, "sync", "contiguous")
    assert (baseline.allocator.name, baseline.threading.name, baseline.hugepages.name) == ("system", "default", "off")


@pytest.mark.parametrize("row", [row for row in ROWS if row.startswith("rand2025")])
@pytest.mark.usefixtures("hydra_context")
def test_published_speedups_follow_from_published_throughputs(row):
    """The speedup is the throughput over the batched baseline, to two decimals; without throughput it is `derived`."""
    published = composed(row)[0].row.published["resnet50"]
    assert (published.throughput is None) == published.derived
    if published.throughput is not None:
        assert published.speedup == round(published.throughput / BATCHED, 2)


@pytest.mark.usefixtures("hydra_context")
@pytest.mark.slow
def test_final_numbers_of_the_article():
    """18.36 × for ResNet-50 and 8.41 × for ViT, which is the only number for ViT."""
    rows = {row: composed(row)[0].row.published for row in ROWS if row.startswith("rand2025")}
    with_vit = {row: published for row, published in rows.items() if "vit_base_patch16_224" in published}
    assert list(with_vit) == ["rand2025=14_openvino_int8"]
    assert with_vit["rand2025=14_openvino_int8"]["vit_base_patch16_224"].speedup == 8.41
    assert with_vit["rand2025=14_openvino_int8"]["resnet50"].speedup == 18.36
    assert len(rows) == 15


@pytest.mark.usefixtures("hydra_context")
@pytest.mark.slow
def test_claims_of_the_guide():
    """Speedups of 2 to 3 in fp32 and 4 to 6 in int8, and 8.42 s against 3.15 s in the printed example."""
    rows = {row: composed(row)[0] for row in ROWS if row.startswith("optimum_cpu_guide")}
    assert len(rows) == 28
    found = {row: config.row.published[config.model.name] for row, config in rows.items() if config.row.published}
    assert found.pop("optimum_cpu_guide=19_pipeline").speedup == round(8.42 / 3.15, 2)
    for row, published in found.items():
        ranges = {"fp32": (2, 4 if row.endswith(("_o2", "_o3")) else 3), "int8": (4, 6), "int8_dynamic": (4, 6)}
        assert (published.speedup, published.speedup_high) == ranges[str(rows[row].precision.name)], row


def test_a_table_is_one_command(run_program: RunProgram):
    """One command measures all rows: a table with verdicts, a figure, and the share of the peak."""
    fake = [override for override in FAKE if not override.startswith("baseline=")]  # each row names its own
    done = run_program(*fake, "+experiments/tiny=glob(*)", "measure.replicates=4", "measure.slice_s=0.2")
    assert done.code == 0, done.err
    results = {result.label: result for result in done.results()}
    assert list(results) == ["1 as fast", "2 twice as fast"]
    rows = {label: record_row(result) for label, result in results.items()}
    assert rows["2 twice as fast"]["tags.row_verdict"] == "reproduced"
    assert rows["1 as fast"]["tags.row_verdict"] == "no published number"
    assert math.isclose(rows["2 twice as fast"]["metrics.published_speedup"], 2.0)
    assert rows["2 twice as fast"]["metrics.peak_share"] > 0
    sweep = max((done.output_dir / "sweeps").iterdir())
    assert {"figure.png", "figure.svg", "table.md", "table.csv", "peaks.json"} <= {f.name for f in sweep.iterdir()}
    assert "row verdict" in (sweep / "table.md").read_text()
    assert "peak of a matrix product" in done.out


SMALL = (
    "model=resnet18",
    "model.image_size=64",
    "data.evaluation_samples=32",
    "data.calibration_samples=32",
    "measure=quick",
    "measure.slice_s=0.05",
    "measure.replicates=2",
    "measure.rounds=1",
    "measure.settle_iterations=1",
    "measure.warmup_s=0.3",
    "measure.guards=false",
    "tracking=none",
)
"""A small real network with the shortest useful measurement."""


INT8_SETS = {"AVX-512 VNNI", "AVX-VNNI", "AMX INT8"}
IPEX_IS_MISSING = "backend=ipex is not installed: run make ipex"


def test_every_row_of_the_article_runs_on_a_small_network(run_program: RunProgram):
    """Every row loads, answers and proves its settings, or has a reason that names what is missing.

    Without the rows of two instances, which need two cores, and of torch.compile alone: torchao's is compiled too.
    """
    on_one_core = "+experiments/rand2025=glob(*,exclude=[10_two_instances,08b_compile])"
    done = run_program(*SMALL, on_one_core, "measure=check")
    assert done.code == 0, done.err + done.out
    results = done.results()
    assert len(results) == 13
    ipex = (PROJECT / ".venvs/ipex/bin/python").exists()
    in_hardware = bool({"AVX-512 BF16", "AMX BF16"} & set(this_machine().isa))
    for result in results:
        if result.settings["backend.name"] == "ipex" and not ipex:
            assert (result.status, result.reason) == (Status.unavailable, IPEX_IS_MISSING)
            continue
        in_openvino = result.settings["backend.name"] == "openvino"
        if in_openvino and result.settings["precision.name"] == "bf16" and not in_hardware:
            assert result.status == "unsupported"
            assert "this processor has none of AVX-512 BF16, AMX BF16" in result.reason
            continue
        assert result.status == "ok", f"{result.label}: {result.reason} {result.log_tail}"
        assert {finding.state for finding in result.evidence} <= {"verified", "unknown"}


@pytest.mark.alone
def test_rows_on_several_cores_run_on_a_small_network(run_program: RunProgram):
    """Of the article: two instances by the launcher (in IPEX's environment), and a runtime's threads on all cores."""
    if len(this_machine().cores) < 2:
        pytest.skip("two instances need two cores")
    done = run_program(*SMALL, "+experiments/rand2025=02_batch_8,10_two_instances,14_openvino_int8")
    assert done.code == 0, done.err + done.out
    one, two_instances, openvino = done.results()
    for result in (one, openvino):
        assert result.status == "ok", result.reason
        [threads] = [finding for finding in result.evidence if finding.knob == "threads"]
        assert threads.state == "verified"
        assert record_row(result)["tags.row_verdict"] == "no published number"  # the article has no ResNet-18
        # Only a precision that the processor computes in itself has a peak.
        in_hardware = result is one or bool(INT8_SETS & set(this_machine().isa))
        assert (result.peak_share is not None) == in_hardware
    if not (PROJECT / ".venvs/ipex/bin/python").exists():
        assert (two_instances.status, two_instances.reason) == (Status.unavailable, IPEX_IS_MISSING)


@pytest.mark.alone
def test_instances_and_pytorchs_launcher_take_effect(run_program: RunProgram):
    """Two instances run on separate cores, with and without PyTorch's launcher, Intel's OpenMP and tcmalloc."""
    if len(this_machine().cores) < 2:
        pytest.skip("two instances need two cores")
    launcher = "threading=default,xeon_run_cpu"
    done = run_program(*SMALL, launcher, "allocator=tcmalloc", "instances=2", "measure.slice_s=0.3")
    assert done.code == 0, done.err + done.out
    alone, launched = done.results()
    for result in (alone, launched):
        assert result.status == "ok", result.reason
        assert {finding.state for finding in result.evidence} <= {"verified", "unknown"}
    assert [one.observed for one in alone.evidence if one.knob == "affinity"] == [
        "cores " + ",".join(map(str, share(this_machine(), 2, instance))) for instance in (0, 1)
    ]
    assert "libiomp5.so" in next(one.observed for one in launched.evidence if one.knob == "openmp")


@pytest.mark.alone
def test_every_backend_saturates_the_machine(run_program: RunProgram):
    """With scenario=async several batches are in flight: latency exceeds the time between completions."""
    done = run_program(*SMALL, "backend=torch,ort,openvino", "scenario=async")
    assert done.code == 0, done.err + done.out
    for result in done.results():
        assert result.status == "ok", result.reason
        measured = result.measurement
        assert measured is not None
        if len(this_machine().cores) > 1:
            between_ms = 8000 / measured.throughput.value
            assert measured.latency_p50_ms > 1.2 * between_ms


def test_async_with_one_request_is_unsupported(run_program: RunProgram):
    """With one request in flight, async equals sync."""
    done = run_program(*FAKE, "scenario=async", "threading=one_thread")
    [result] = done.results()
    assert (done.code, result.status) == (0, "unsupported")
    assert "with one request in flight scenario=async is scenario=sync" in result.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "resnet18: {throughput: -3}",
            "row.published.resnet18.throughput: received -3.0; allowed: a number, more than 0",
        ),
        ("resnet18: {}", "row.published.resnet18: received 'nothing'; allowed: a throughput, a speedup, or both"),
        ("resnet18: {speed: 3}", "speed"),
        ("resnet18: {speedup: fast}", "speedup"),
        ("resnet18: 3", "resnet18"),
    ],
)
def test_a_malformed_published_block_is_a_mistake(run_program: RunProgram, tmp_path, content, message):
    """The mistake names the field, and nothing is launched."""
    folder = tmp_path / "conf"
    shutil.copytree(TESTS / "conf", folder)
    table = folder / "experiments" / "broken"
    table.mkdir(parents=True)
    (table / "row.yaml").write_text(
        f"# @package _global_\nrow:\n  table: broken\n  name: one\n  published:\n    {content}\n"
    )
    done = run_program(*FAKE, "+experiments/broken=row", config_dir=folder)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_table_without_rows_is_a_mistake(run_program: RunProgram):
    """A folder that does not exist, or contains no YAML file."""
    done = run_program(*FAKE, "+experiments/nowhere=glob(*)")
    assert done.code == 2
    assert "experiments/nowhere: received 'glob(*)'; allowed: a table with rows" in done.err
    assert "Traceback" not in done.err
