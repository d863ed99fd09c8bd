"""``python -m runner.tracking sync``, an older form of ``runner sync``."""

import sys

from runner.commands.sync import main

if __name__ == "__main__":
    sys.exit(main())
