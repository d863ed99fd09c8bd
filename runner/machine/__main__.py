"""``python -m runner.machine``, the older form of ``runner machine``."""

import sys

from runner.commands.machine import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
