"""The heap layout at the start of a slice."""

from runner.worker.heap import BLOCKS, MAX_BLOCK, MIN_BLOCK, Heap


def test_layout_depends_on_the_seed() -> None:
    """Equal block sizes for the same seed, within the limits; different sizes for another."""
    heap = Heap()
    first, again, other = heap.redraw(1), heap.redraw(1), heap.redraw(2)
    assert first == again
    assert first != other
    assert len(first) == BLOCKS
    assert all(MIN_BLOCK <= size < MAX_BLOCK for size in first + other)


def test_blocks_are_freed() -> None:
    """A thousand draws hold no more memory than one."""
    heap = Heap()
    heap.redraw(0)
    before = resident_bytes()
    for seed in range(1000):
        heap.redraw(seed)
    assert resident_bytes() - before < 20 * BLOCKS * MAX_BLOCK // 10


def resident_bytes() -> int:
    """Return the resident memory of this process, in bytes."""
    from psutil import Process

    return int(Process().memory_info().rss)
