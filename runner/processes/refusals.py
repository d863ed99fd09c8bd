"""Refuse combinations that this machine cannot run, or in which a setting would have no effect.

Such a run ends as `unsupported` before anything is launched: a row must not claim a setting without effect.
"""

from __future__ import annotations

from runner.config import backend_registry
from runner.config.schema import Precision, RunConfig
from runner.machine.facts import Machine
from runner.results.status import RunFailed, Status

BF16_SETS = ("AVX-512 BF16", "AMX BF16")
"""x86 instruction sets that compute in bf16."""

NEAREST = {
    "bf16": ("int8", "fp32"),
    "int8": ("int8_dynamic", "bf16"),
    "int8_accuracy": ("int8",),
    "int8_dynamic": ("int8",),
    "int8_weights": ("int8_dynamic", "int8"),
    "int4_weights": ("int8_weights", "int8_dynamic", "int8"),
}
"""By precision, those that come nearest to it, best first."""


def refuse(config: RunConfig, machine: Machine) -> None:
    """Refuse a configuration that cannot be measured as requested.

    Raises:
        RunFailed: `unsupported`; the reason names the nearest configuration that can be measured.
    """
    reasons = (_openmp(config), _model(config), _precision(config), _bf16(config, machine), _huge_pages(config))
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


def _precision(config: RunConfig) -> str:
    """Return why the backend does not implement the precision; empty if it does."""
    backends, name, wanted = backend_registry.backends(), config.backend.name, str(config.precision.name)
    known = backends[name]
    if not known.precisions or wanted in known.precisions:
        return ""
    why = known.lacks.get(wanted, f"backend={name} does not implement precision={wanted}")
    nearest = next(one for one in (*NEAREST.get(wanted, ()), *known.precisions) if one in known.precisions)
    others = [other for other, backend in backends.items() if wanted in backend.precisions and backend.packages]
    elsewhere = f" here, or backend={' or '.join(sorted(others))}" if others else ""
    return f"{why}: take precision={nearest}{elsewhere}"


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
