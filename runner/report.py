"""``python -m runner.report``, an older form of ``runner report``."""

import sys

from runner.commands.report import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
