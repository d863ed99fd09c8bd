"""Describe a model file: ``python -m runner.worker.inspect REQUEST REPLY`` writes Inspected, Mistaken or Failure."""

from __future__ import annotations

import sys
from pathlib import Path

from runner.protocol import Inspect, Message, decode, encode
from runner.worker.failures import Refused, as_failure
from runner.worker.subjects.files.formats import inspect


def main(request: Path, reply: Path) -> None:
    """Inspect a file, and write what it is or why it cannot be used."""
    message = decode(request.read_bytes())
    assert isinstance(message, Inspect)
    try:
        answer: Message = inspect(Path(message.path), message.shapes)
    except Refused as error:
        answer = error.mistake
    except Exception as error:  # the reply reports it to the host
        answer = as_failure(error)
    reply.write_bytes(encode(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
