"""``python -m runner``."""

from runner.commands.run import main

if __name__ == "__main__":
    main()
