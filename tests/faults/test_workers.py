"""Every fault of a worker becomes the status of its row; other rows are unaffected, and no process remains."""

from __future__ import annotations

import sys

import pytest

from runner.processes import worker
from runner.processes.launch import WorkerLaunch
from runner.processes.oom import REMEDY, OomKills, read_oom_kills
from runner.processes.worker import Worker
from runner.results.status import RunFailed, Status
from tests.conftest import FAKE, RunProgram
from tests.faults.conftest import faults

AT_ONCE = {
    "batch_s: 0.001": (Status.ok, ""),
    "fault: raise": (Status.failed, "ValueError: the fake fails as configured"),
    "fault: kill": (Status.crashed, "died by SIGKILL"),
    "fault: segv": (Status.crashed, "died by SIGSEGV"),
    "fault: abort": (Status.crashed, "died by SIGABRT: free(): invalid pointer"),
    "fault: exit": (Status.failed, "ended with exit code 3"),
    "fault: kill, at: step": (Status.crashed, "died by SIGKILL"),
    "fault: segv, at: bind": (Status.crashed, "died by SIGSEGV"),
    "fault: memory": (Status.failed, "MemoryError: the fake is out of memory"),
    "fault: missing": (Status.unavailable, "nowhere is not installed: run make setup"),
    "fault: unsupported, at: init": (Status.unsupported, "take precision=fp32"),
    "fault: lie": (Status.invalid, "precision: requested int8, observed fp32"),
    "fault: not a number": (Status.invalid, "4 of 320 logits are NaN or infinite"),
    "fault: constant": (Status.invalid, "all samples have the same logits"),
    "fault: noise": (Status.ok, ""),
    "fault: noise, at: step": (Status.ok, ""),
    "fault: garbage": (Status.failed, "the worker broke the protocol: not a message"),
    "fault: garbage, at: step": (Status.failed, "the worker broke the protocol: not a message"),
    "fault: other": (Status.failed, "the worker broke the protocol: answered Warm instead of Loaded"),
    "fault: close": (Status.failed, "the worker broke the protocol: closed its channel"),
    "fault: close, at: step": (Status.failed, "the worker broke the protocol: closed its channel"),
    "batch_s: 0.003": (Status.ok, ""),
}
AT_THE_LIMIT = {
    "fault: hang, at: init": (Status.timeout, "no answer within 3 s (waiting for Loaded)"),
    "fault: hang": (Status.timeout, "no answer within 3 s (waiting for Loaded)"),
    "fault: hang, at: step": (Status.timeout, "no answer within 3 s (waiting for"),
    "fault: children": (Status.timeout, "no answer within 3 s (waiting for Loaded)"),
    "fault: children, at: step": (Status.timeout, "no answer within 3 s (waiting for"),
    "batch_s: 0.001": (Status.ok, ""),
}
"""Hanging workers ignore SIGTERM, and some have children in other sessions."""


@pytest.mark.parametrize("cases", [AT_ONCE, AT_THE_LIMIT], ids=["at once", "at the limit"])
def test_every_fault_ends_its_own_row_only(run_program: RunProgram, cases):
    """A worker that raises, dies, hangs, ignores settings or sends garbage ends its run only."""
    limits = ["measure.prepare_timeout_s=3", "measure.request_timeout_s=3"] if cases is AT_THE_LIMIT else []
    done = run_program(*FAKE, faults(*cases), *limits)
    assert done.code == 1, done.err
    found = done.results()
    assert [result.status for result in found] == [status for status, _ in cases.values()]
    for result, (_, reason) in zip(found, cases.values(), strict=True):
        assert reason in result.reason
        assert (result.shown is not None) == (result.status is Status.ok)
        assert "\n" not in result.reason
    assert "Traceback" not in done.out + done.err


@pytest.mark.parametrize("what", ["fault: kill", "fault: kill, at: step"])
def test_a_failed_baseline_is_named(run_program: RunProgram, what):
    """The reason names the baseline, and the next run starts a new one."""
    options = ",".join(f"backend.options.{part.replace(': ', '=')}" for part in what.split(", "))
    baseline = '","'.join(["backend=fake", *options.split(",")])
    done = run_program(*FAKE, f'baseline=["{baseline}"]', "measure.request_timeout_s=3", "batch_size=4,8")
    assert [result.reason.partition(":")[0] for result in done.results()] == ["its baseline"] * 2


def killed() -> Worker:
    """Start a process that is killed before it connects."""
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    return Worker(WorkerLaunch(command, {}, None), worker.Path("killed.log").absolute())


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        ([OomKills(4, 7), OomKills(4, 7)], None),
        ([OomKills(4, 7), OomKills(5, 8)], "out of memory, by the control group's counter (oom_kill rose by 1)"),
        ([OomKills(0, 7), OomKills(0, 9)], "out of memory, by the kernel's counter (oom_kill rose by 2)"),
    ],
)
def test_an_out_of_memory_kill_is_reported(monkeypatch, tmp_path, readings, message):
    """By the counters only, because SIGKILL does not carry its sender."""
    monkeypatch.chdir(tmp_path)
    left = list(readings)
    monkeypatch.setattr(worker, "read_oom_kills", lambda: left.pop(0))
    with pytest.raises(RunFailed) as failure:
        killed()
    assert failure.value.status is Status.crashed
    wanted = "died by SIGKILL: it printed nothing" + (f": {message}: {REMEDY}" if message else "")
    assert failure.value.reason == wanted


@pytest.mark.parametrize(
    ("cgroup", "file", "content"),
    [
        ("0::/pod/job\n", "sys/fs/cgroup/pod/job/memory.events", "low 0\noom 5\noom_kill 3\n"),
        ("5:memory:/job\n", "sys/fs/cgroup/memory/job/memory.oom_control", "under_oom 0\noom_kill 3\n"),
    ],
    ids=["version 2", "version 1"],
)
def test_counters_of_both_versions_of_control_groups(tmp_path, cgroup, file, content):
    """With files in the kernel's formats."""
    for path, text in (("proc/self/cgroup", cgroup), ("proc/vmstat", "pgfault 9\noom_kill 11\n"), (file, content)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert read_oom_kills(tmp_path) == OomKills(group=3, machine=11)


def test_a_kernel_without_counters(tmp_path):
    """All counters are 0."""
    assert read_oom_kills(tmp_path) == OomKills(0, 0)
