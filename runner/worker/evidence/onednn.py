"""Operations that oneDNN and MKL executed, from the verbose lines that they print to standard output.

oneDNN: https://uxlfoundation.github.io/oneDNN/dev_guide_verbose.html. MKL: "Using oneMKL Verbose Mode" in its guide.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from runner.worker.evidence.arithmetic import Work

PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "s8": "int8", "f64": "fp64"}
_SIZE = re.compile(r"(mb|g|ic|oc|i[dhw]|o[dhw]|k[dhw])(\d+)")
_MKL = re.compile(r"MKL_VERBOSE (\w*GEMM\w*)\(\w,\w,(\d+),(\d+),(\d+)[,)]")


def run_verbosely(step: Callable[[], object], flags: AbstractContextManager[object]) -> list[Work]:
    """Run a step once with verbose output, and return its convolutions and matrix products.

    Args:
        step: runs one batch.
        flags: enables the libraries' verbose output while it is active.
    """
    with _captured() as read:
        with flags:
            step()
        lines = read().splitlines()
    return parse(lines)


@contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Redirect file descriptor 1 to a temporary file, because C libraries bypass Python's stream.

    Yields:
        A function that returns the output so far.
    """
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    flush(None)
    original = os.dup(1)
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            flush(None)
            file.seek(0)
            return file.read().decode(errors="replace")

        os.dup2(file.fileno(), 1)
        try:
            yield read
        finally:
            flush(None)
            os.dup2(original, 1)
            os.close(original)


def parse(lines: list[str]) -> list[Work]:
    """Return the convolutions and matrix products in verbose output; other lines are ignored."""
    found = []
    for line in lines:
        if line.startswith("onednn_verbose"):
            work = _onednn(line.split(","))
        elif mkl := _MKL.search(line):
            name, *sizes = mkl.groups()
            work = Work(_mkl_precision(name), math.prod(map(int, sizes)), f"MKL {name.lower()}")
        else:
            continue
        if work is not None:
            found.append(work)
    return found


def _onednn(fields: list[str]) -> Work | None:
    """Return the work of one line, None unless it is the execution of a convolution or matrix product."""
    if "exec" not in fields:
        return None
    _, kind, kernel, _, memory, attributes = fields[fields.index("exec") + 1 :][:6]
    count = COUNTS.get(kind)
    source = re.search(r"src[_:](\w+?):", memory)
    if count is None or source is None:
        return None
    precision = PRECISIONS.get(source.group(1), source.group(1))
    lowered = re.search(r"fpmath:(\w+)", attributes)
    if lowered and precision == "fp32" and lowered.group(1) in PRECISIONS:
        precision = PRECISIONS[lowered.group(1)]
    return Work(precision, count(fields[-2]), kernel)


def _convolution(problem: str) -> float:
    """Return the multiply-accumulates of ``mb8_ic3oc64_ih224oh112kh7…_iw224ow112kw7…``."""
    size = {name: int(value) for name, value in _SIZE.findall(problem)}
    spatial = math.prod(size.get(axis, 1) for axis in ("od", "oh", "ow", "kd", "kh", "kw"))
    return size["mb"] * size["oc"] * size["ic"] // size.get("g", 1) * spatial


def _inner_product(problem: str) -> float:
    """Return the multiply-accumulates of ``mb8ic2048oc1000``; for images their extents follow ``ic``."""
    size = {name: int(value) for name, value in _SIZE.findall(problem)}
    return math.prod(size.get(name, 1) for name in ("mb", "ic", "oc", "id", "ih", "iw"))


def _matmul(problem: str) -> float:
    """Return the multiply-accumulates of ``8x197x768:768x2304``."""
    left, right = ([int(extent) for extent in part.split("x")] for part in problem.split(":")[:2])
    return math.prod(left) * right[-1]


COUNTS: dict[str, Callable[[str], float]] = {
    "convolution": _convolution,
    "deconvolution": _convolution,
    "inner_product": _inner_product,
    "matmul": _matmul,
    "gemm_api": _matmul,  # integer products called without a primitive, as by torch._int_mm
}


def _mkl_precision(name: str) -> str:
    for part, precision in (("BF16", "bf16"), ("S8U8", "int8"), ("S8S8", "int8"), ("F16", "fp16"), ("SGEMM", "fp32")):
        if part in name:
            return precision
    return name.lower()
