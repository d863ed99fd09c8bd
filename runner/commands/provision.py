"""``runner provision``: fetch the system libraries and programs that pip cannot install."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence

from runner import exit_codes
from runner.machine.provision import browser_needs, fetch, link_plain_names, needs, run_command


def main(arguments: Sequence[str]) -> int:
    """Fetch the missing allocators and numactl, and list what there is.

    What cannot be fetched is listed as unavailable; it is not an error: the runs that need it report it.
    """
    parser = argparse.ArgumentParser(prog="runner provision", description=main.__doc__)
    parser.add_argument("--browser", action="store_true", help="also Chromium: pictures and tests of pages need it")
    options = parser.parse_args(list(arguments))
    wanted = [*needs(), *(browser_needs() if options.browser else [])]
    missing = [need for need in wanted if need.found() is None]
    if missing and shutil.which("apt-get") is None:
        print("system libraries: this is not a Debian-like system; install them by its own means")
    elif missing:
        if os.geteuid() == 0 and not run_command("apt-get", "update", "-qq"):
            print("system libraries: the package lists could not be updated; trying with the present ones")
        for need in missing:
            fetch(need)
    link_plain_names()
    for need in wanted:
        print(
            f"{need.name:12} {need.found() or 'unavailable: none of ' + ', '.join(need.packages) + ' can be installed'}"
        )
    return exit_codes.OK
