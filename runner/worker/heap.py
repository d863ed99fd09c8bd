"""A fresh heap for every slice, so that one accident of memory does not last as long as a process.

Whether glibc hands a batch's freed activations back to the kernel depends on which small block happens to follow
them, and that on every allocation since the process began: eager ResNet-50 then makes 52,000 or 62,000 page faults a
batch, for as long as nothing moves. Such accidents of layout pass for effects of what is compared. Drawing the layout
anew turns them into noise of the rounds, which the interval holds (Curtsinger and Berger, "Stabilizer: Statistically
Sound Performance Evaluation", ASPLOS 2013, who do so for code, stack and heap).
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
