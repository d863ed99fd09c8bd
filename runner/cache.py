"""``python -m runner.cache``, an older form of ``runner cache``."""

import sys

from runner.commands.cache import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
