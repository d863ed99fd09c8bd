"""All benchmarks, one after the other: never two measurements at once. ``make bench``."""

import sys

from benchmarks import benchmark_app, fidelity, harness, shipping

if __name__ == "__main__":
    # the harness first: its sweep fills the cache
    kept = [module.main() for module in (harness, fidelity, benchmark_app, shipping)]
    sys.exit(0 if all(kept) else 1)
