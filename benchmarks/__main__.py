"""All benchmarks, one after the other: never two measurements at once. ``make bench``."""

import sys

from benchmarks import benchmark_app, fidelity, harness

if __name__ == "__main__":
    kept = [
        module.main() for module in (harness, fidelity, benchmark_app)
    ]  # the harness first: its sweep fills the cache
    sys.exit(0 if all(kept) else 1)
