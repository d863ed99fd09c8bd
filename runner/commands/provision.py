"""``runner provision``: fetch the system libraries that pip cannot."""

from __future__ import annotations

import os
import shutil

from runner.machine.provision import fetch, link_plain_names, needs, run_command


def main() -> None:
    """Fetch what is missing and say what there is."""
    missing = [need for need in needs() if need.found() is None]
    if missing and shutil.which("apt-get") is None:
        print("system libraries: this is not a Debian-like system; install them by its own means")
    elif missing:
        if os.geteuid() == 0 and not run_command("apt-get", "update", "-qq"):
            print("system libraries: the package lists could not be renewed; trying with those that are there")
        for need in missing:
            fetch(need)
    link_plain_names()
    for need in needs():
        place = need.found()
        print(f"{need.name:10} {place or 'unavailable: none of ' + ', '.join(need.packages) + ' could be had'}")
