"""Describe a model file: ``python -m runner.worker.inspect REQUEST REPLY`` writes Inspected, Mistaken or Failure."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from runner.protocol import Inspect, Message, decode, encode
from runner.worker.converters.base import reaches
from runner.worker.failures import Refused, as_failure
from runner.worker.subjects.file import forms_of
from runner.worker.subjects.files.formats import inspect
from runner.worker.subjects.subject import Form


def main(request: Path, reply: Path) -> None:
    """Inspect a file, and write what it is or why it cannot be used."""
    message = decode(request.read_bytes())
    assert isinstance(message, Inspect)
    try:
        found = inspect(Path(message.path), message.shapes)
        brought = forms_of(found.kind, found.precision)
        reachable = [reaches(Form(kind, precision), brought) for kind, precision in message.forms]
        answer: Message = replace(found, reachable=reachable)
    except Refused as error:
        answer = error.mistake
    except Exception as error:  # the reply reports it to the host
        answer = as_failure(error)
    reply.write_bytes(encode(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
