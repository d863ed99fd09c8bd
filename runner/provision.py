"""``python -m runner.provision``, an older form of ``runner provision``."""

import sys

from runner.commands.provision import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
