"""``python -m runner.tracking sync``, the older form of ``runner sync``."""

import sys

from runner.commands.sync import main

if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(words[1:] if words[:1] == ["sync"] else words))
