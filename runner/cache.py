"""``python -m runner.cache``, an older form of ``runner cache``."""

import sys

from runner.results.artifacts import main

if __name__ == "__main__":
    sys.exit(main())
