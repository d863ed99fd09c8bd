"""A new heap layout for every slice, so that the layout is a random effect of the slice and not of the process.

Whether glibc returns a batch's freed activations to the kernel depends on which small block follows them, and so on
every allocation since the process started: eager ResNet-50 makes either 52,000 or 62,000 page faults a batch, the same
number until something moves. Such a difference is mistaken for an effect of the settings that are compared. A new
layout for every slice turns it into noise between rounds, which the confidence interval covers (Curtsinger and Berger,
"Stabilizer: Statistically Sound Performance Evaluation", ASPLOS 2013, who randomise code, stack and heap).
"""

from __future__ import annotations

import ctypes
import random

BLOCKS = 50
"""Blocks that are held at a time."""
MIN_BLOCK, MAX_BLOCK = 16, 200_000
"""Limits of a block's size in bytes: from a Python object to a small tensor."""


class Heap:
    """The process's malloc, and the blocks allocated from it that shift later allocations."""

    def __init__(self) -> None:
        """Find malloc and free of the allocator in use, preloaded or not."""
        self._library = ctypes.CDLL(None)
        self._library.malloc.restype = ctypes.c_void_p
        self._library.malloc.argtypes = [ctypes.c_size_t]
        self._library.free.argtypes = [ctypes.c_void_p]
        self._blocks: list[int] = []

    def redraw(self, seed: int) -> list[int]:
        """Return free memory to the kernel, and replace the held blocks by blocks of random sizes.

        Args:
            seed: of the sizes.

        Returns:
            The sizes of the held blocks, in bytes.
        """
        for block in self._blocks:
            self._library.free(block)
        if hasattr(self._library, "malloc_trim"):  # glibc's; without effect on a preloaded allocator
            self._library.malloc_trim(0)
        generator = random.Random(seed)
        sizes = [generator.randrange(MIN_BLOCK, MAX_BLOCK) for _ in range(BLOCKS)]
        self._blocks = [self._library.malloc(size) for size in sizes]
        return sizes
