"""Instruction sets of the processor that affect quantisation and precision."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from pathlib import Path


@cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's flags by their names in /proc/cpuinfo."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def has_vnni() -> bool:
    """Return whether 8-bit products accumulate in 32 bits: on x86 with VNNI or AMX, on other processors always.

    Otherwise pairs of products are added in 16 bits and saturate, so that every quantiser leaves a bit free.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return bool(cpu_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"})


def amx_permission() -> bool:
    """Request permission to use AMX tiles from the kernel, as oneDNN does, and return whether it is granted.

    The numbers are from <asm/prctl.h>: ARCH_REQ_XCOMP_PERM, and the state component of tile data.
    """
    if platform.machine() != "x86_64":
        return False
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0)
