"""The machine's peak arithmetic (matrix products in fp32, bf16, int8), and a network's operations per sample.

``python -m runner.worker.peak JOB REPLY`` writes :class:`runner.protocol.Peaks`. It runs alone, before anything is
measured. The products are PyTorch's (oneDNN), large enough to be compute-bound; the fastest repetition counts.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from runner.job import HOST_ENVIRONMENT, Job
from runner.protocol import Load, Peaks, decode, encode
from runner.worker.build import count_work, open_cache, with_artifacts
from runner.worker.evidence.isa import cpu_flags, has_vnni
from runner.worker.failures import JobFailure
from runner.worker.subjects.subject import GENERATION
from runner.worker.subprocesses import die_with_parent

log = logging.getLogger(__name__)

SIZE = 2048
"""Rows and columns of each matrix: 16 MiB in fp32, and 17 billion operations per product."""
SECONDS = 1.0
"""Seconds spent on each product."""


def main(request: Path, reply: Path) -> None:
    """Measure the peaks, count the network's operations, and write Peaks.

    Args:
        request: a file with a Load message.
        reply: the file to write.
    """
    die_with_parent()
    message = decode(request.read_bytes())
    assert isinstance(message, Load)
    cores = len(os.sched_getaffinity(0))
    kinds = [precision for precision, computes in HARDWARE.items() if computes()]
    peaks = {f"{precision}_{threads}": _measure(precision, threads) for threads in {1, cores} for precision in kinds}
    job = message.job
    reply.write_bytes(encode(Peaks(peaks, cores, _operations(job))))


def _operations(job: Job) -> float:
    """Return the operations of one sample's inference in units of 10⁹; 0 if they are not known."""
    if job.engine.scope == "pipeline" or job.subject.task == GENERATION:
        return 0.0  # a pipeline does more than the model; generation is bound by memory
    try:
        work, _ = with_artifacts(job, open_cache(job, HOST_ENVIRONMENT), lambda fetch: count_work(job, fetch))
    except JobFailure as error:
        log.info("the operations of %s are not known: %s", job.subject.name, error)
        return 0.0
    return 2 * work / 1e9


Product = Callable[[], object]


def _floating(dtype: torch.dtype) -> list[Product]:
    """Return a product by PyTorch's BLAS and one by oneDNN: the processor decides which is faster."""
    one = torch.randn(SIZE, SIZE).to(dtype)
    onednn = torch.ops.mkldnn._linear_pointwise
    return [lambda: torch.mm(one, one), lambda: onednn(one, one, None, "none", [], "")]


def _int8() -> list[Product]:
    one = torch.randint(-128, 127, (SIZE, SIZE), dtype=torch.int8)
    return [lambda: torch._int_mm(one, one)]


PRODUCTS: dict[str, Callable[[], list[Product]]] = {
    "fp32": lambda: _floating(torch.float32),
    "bf16": lambda: _floating(torch.bfloat16),
    "int8": _int8,
}


def _has_bf16() -> bool:
    """Return whether the processor computes in bf16."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})  # the last is ARM's


HARDWARE: dict[str, Callable[[], bool]] = {"fp32": lambda: True, "bf16": _has_bf16, "int8": has_vnni}
"""Whether the processor has arithmetic of a precision. An emulated product is no peak, and takes a minute."""


def _measure(precision: str, threads: int) -> float:
    """Return the highest rate in 10⁹ operations per second; a multiply-add counts as two."""
    torch.set_num_threads(threads)
    return max(2 * SIZE**3 / _fastest(product) / 1e9 for product in PRODUCTS[precision]())


def _fastest(product: Product) -> float:
    """Return the seconds of the fastest repetition within SECONDS."""
    product()
    best = float("inf")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        begin = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - begin)
    return best


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
