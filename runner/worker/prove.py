"""Prove the precision on another copy of the model: ``python -m runner.worker.prove JOB REPLY``.

A runtime whose evidence needs a second copy, as a session with a profiler, must not load it in the measured process:
the copy could use up the memory, and the kernel would kill a process whose numbers are complete. It runs here, with the
same environment and on the same cores. The file REPLY is then Observed or Failure.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runner.protocol import Load, Message, Observed, decode, encode
from runner.worker.build import gather, open_cache
from runner.worker.failures import as_failure
from runner.worker.subprocesses import die_with_parent


def main(request: Path, reply: Path) -> None:
    """Load a job whose artifacts exist, and write what its runtime finds.

    Args:
        request: a file with a Load message.
        reply: the file to write.
    """
    die_with_parent()
    message = decode(request.read_bytes())
    assert isinstance(message, Load)
    try:
        parts = gather(message.job, open_cache(message.job, message.job.engine.environment).require)
        answer: Message = Observed(parts.runtime.evidence(parts.probe))
    except Exception as error:  # the reply reports it to the measured process
        answer = as_failure(error)
    reply.write_bytes(encode(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
