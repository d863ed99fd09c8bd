"""``python -m runner.provision``, an older form of ``runner provision``."""

from runner.commands.provision import main

if __name__ == "__main__":
    main()
