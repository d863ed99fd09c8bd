"""Runs the program and injects a fault at its Nth write: ``python inject.py ACTION N OUTPUTS ARGUMENTS``.

Writes are Python's audit events for files opened for writing, folders created and files renamed by the host under
OUTPUTS. ACTION is one of
  list   print the writes to standard error at the end
  full   every write from the Nth on fails as on a full disk
  once   only the Nth write fails as on a full disk
  kill   SIGKILL to this process at the Nth write
  clock  from the first write that starts with the text N on, the wall clock is two hours earlier
"""

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
action, number, outputs, *arguments = sys.argv[1:]
written = []
wall_clock, set_back_s = time.time, [0]
time.time = lambda: wall_clock() - set_back_s[0]


def written_by(event, args):
    """Return the path that an audit event writes; None for other events."""
    if event == "open":
        path, _, flags = args
        return path if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else None
    if event in ("os.mkdir", "os.rename", "sqlite3.connect"):
        return args[0]
    return None


def inject(event, args):
    """Perform the action if it is due at this write."""
    path = written_by(event, args)
    if not isinstance(path, str | os.PathLike) or not str(path).startswith(outputs + os.sep):
        return
    written.append(f"{event} {Path(path).name}")
    now = written[-1].startswith(number) if action == "clock" else len(written) == int(number)
    if action == "kill" and now:
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "clock" and now:
        set_back_s[0] = 7200
    if (action == "full" and len(written) >= int(number)) or (action == "once" and now):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


if __name__ == "__main__":
    from runner.__main__ import main

    sys.addaudithook(inject)
    sys.argv = ["runner", *arguments]
    try:
        sys.exit(main())
    finally:
        if action == "list":
            sys.stdout.flush()
            print(json.dumps(written), file=sys.stderr)
