"""The heap that a slice begins with."""

from runner.worker.heap import BLOCKS, MAX_BLOCK, MIN_BLOCK, Heap


def test_a_seed_draws_one_heap_and_another_seed_another() -> None:
    """The same seed holds blocks of the same sizes, within the limits; a further one does not."""
    heap = Heap()
    first, again, other = heap.redraw(1), heap.redraw(1), heap.redraw(2)
    assert first == again
    assert first != other
    assert len(first) == BLOCKS
    assert all(MIN_BLOCK <= size < MAX_BLOCK for size in first + other)


def test_blocks_are_given_back() -> None:
    """A thousand draws hold no more memory than one does."""
    heap = Heap()
    heap.redraw(0)
    before = resident_bytes()
    for seed in range(1000):
        heap.redraw(seed)
    assert resident_bytes() - before < 20 * BLOCKS * MAX_BLOCK // 10


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    from psutil import Process

    return int(Process().memory_info().rss)
