"""Refuse combinations that this machine cannot run, or in which a setting would have no effect.

Such a run ends as `unsupported` before anything is launched: a row must not claim a setting without effect.
"""

from __future__ import annotations

from runner.config.schema import Precision, RunConfig
from runner.machine.facts import Machine
from runner.results.status import RunFailed, Status

BF16_SETS = ("AVX-512 BF16", "AMX BF16")
"""x86 instruction sets that compute in bf16."""


def refuse(config: RunConfig, machine: Machine) -> None:
    """Refuse a configuration that cannot be measured as requested.

    Raises:
        RunFailed: `unsupported`; the reason names the nearest configuration that can be measured.
    """
    reasons = (_openmp(config), _model(config), _bf16(config, machine), _huge_pages(config))
    for reason in reasons:
        if reason:
            raise RunFailed(Status.unsupported, reason)


def _openmp(config: RunConfig) -> str:
    if not (config.threading.env or config.threading.libraries) or config.backend.openmp:
        return ""
    return (
        f"threading={config.threading.name} sets OpenMP, which backend={config.backend.name} does not use: "
        "take threading=all_cores"
    )


def _model(config: RunConfig) -> str:
    sources = config.backend.sources
    if not sources or config.model.source in sources:
        return ""
    what = f"backend={config.backend.name} does not run models of {config.model.source}"
    return f"{what}: take backend=torch, ort or openvino"


def _bf16(config: RunConfig, machine: Machine) -> str:
    if config.precision.name is not Precision.bf16 or not config.backend.bf16_needs_hardware:
        return ""
    if machine.architecture != "x86_64" or set(BF16_SETS) & set(machine.isa):
        return ""
    return (
        f"this processor has none of {', '.join(BF16_SETS)}, and backend={config.backend.name} would compute in fp32: "
        "take precision=fp32 or int8"
    )


def _huge_pages(config: RunConfig) -> str:
    """Return why the huge-page setting would have no effect; empty if it would have one."""
    pages, missing = config.hugepages, []
    if pages.pytorch:
        if config.backend.pytorch:
            return ""
        missing.append(f"PyTorch's buffers, and backend={config.backend.name} has none")
    if pages.c_library:
        if not config.allocator.libraries:
            return ""
        missing.append(f"the C library's heap, which allocator={config.allocator.name} replaces")
    return f"hugepages={pages.name} acts on {', and on '.join(missing)}: take hugepages=off" if missing else ""
