"""Instruction sets that decide how a network is quantised."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from pathlib import Path


@cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's flags as the kernel names them."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def has_vnni() -> bool:
    """Return whether 8-bit products are added up in 32 bits: on x86 with VNNI or AMX, on ARM always."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return bool(cpu_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"})


def amx_permission() -> bool:
    """Return whether the kernel lets this process use AMX tiles, asking for it as oneDNN does.

    The numbers are those of <asm/prctl.h>: ARCH_REQ_XCOMP_PERM, and the state component of tile data.
    """
    if platform.machine() != "x86_64":
        return False
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0)
