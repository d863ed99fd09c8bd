"""Configurations that end as unsupported before anything is launched, and configurations that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.config.composition import compose_settings, typed
from runner.machine.facts import this_machine
from runner.processes.refusals import refuse
from runner.results.status import RunFailed, Status

X86 = replace(this_machine(), architecture="x86_64", isa=["AVX2"])


@pytest.fixture(autouse=True)
def _composing(hydra_context):
    """Every test here composes real command lines."""


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["backend=ort", "threading=intel_openmp"], "sets OpenMP, which backend=ort does not use"),
        (["backend=ipex", "model=distilbert"], "backend=ipex does not run models of transformers"),
        (
            ["backend=ort", "precision=bf16"],
            "no bf16 arithmetic on x86: take precision=int8 here, or backend=ipex or openvino or torch",
        ),
        (["backend=ort", "precision=int4_weights"], "take precision=int8_dynamic here, or backend=openvino"),
        (["backend=openvino", "precision=int8_dynamic"], "take precision=int8 here, or backend=ort or torch"),
        (["backend=openvino", "precision=bf16"], "backend=openvino would compute in fp32: take precision=fp32 or int8"),
        (["backend=openvino", "hugepages=torch"], "PyTorch's buffers, and backend=openvino has none"),
        (["backend=ort", "hugepages=torch"], "take hugepages=off"),
        (["hugepages=glibc", "allocator=tcmalloc"], "the C library's heap, which allocator=tcmalloc replaces"),
        (["backend=ort", "hugepages=glibc", "allocator=jemalloc"], "which allocator=jemalloc replaces"),
        (["backend=ort", "hugepages=thp", "allocator=mimalloc"], "has none, and on the C library's heap, which"),
    ],
)
def test_a_setting_without_effect_is_unsupported(overrides, reason):
    """The reason names an alternative."""
    with pytest.raises(RunFailed) as caught:
        refuse(typed(compose_settings(overrides)), X86)
    assert caught.value.status is Status.unsupported
    assert reason in caught.value.reason
    assert ": take " in caught.value.reason


@pytest.mark.parametrize(
    ("overrides", "isa"),
    [
        (["backend=torch", "precision=bf16"], ["AVX2"]),  # emulated, which is allowed
        (["backend=openvino", "precision=bf16"], ["AVX2", "AMX BF16"]),
        (["backend=openvino", "precision=bf16"], ["AVX-512 BF16"]),
        (["hugepages=torch", "allocator=tcmalloc"], ["AVX2"]),
        (["hugepages=thp", "allocator=tcmalloc"], ["AVX2"]),  # PyTorch's part has an effect
        (["backend=openvino", "hugepages=thp"], ["AVX2"]),  # the C library's has
        (["backend=openvino", "hugepages=glibc"], ["AVX2"]),
        (["backend=ort", "threading=physical_cores"], ["AVX2"]),
    ],
)
def test_a_setting_with_an_effect_is_not_refused(overrides, isa):
    """A partial effect or emulation is enough."""
    refuse(typed(compose_settings(overrides)), replace(X86, isa=isa))


def test_x86_instruction_sets_are_required_on_x86_only():
    """On other architectures the worker checks for bf16."""
    refuse(
        typed(compose_settings(["backend=openvino", "precision=bf16"])), replace(X86, architecture="aarch64", isa=[])
    )
