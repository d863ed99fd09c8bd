"""Answer a question of the host about a model before a launch: ``python -m runner.worker.inspect REQUEST REPLY``.

The question is :class:`runner.protocol.Inspect` or :class:`runner.protocol.CheckNetwork`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from runner.protocol import CheckNetwork, Inspect, Message, Network, decode, encode
from runner.worker.failures import Refused, as_failure


def main(request: Path, reply: Path) -> None:
    """Write what a model is, or why it cannot be used."""
    message = decode(request.read_bytes())
    try:
        answer: Message = _check(message) if isinstance(message, CheckNetwork) else _describe(message)
    except Refused as error:
        answer = error.mistake
    except Exception as error:  # the reply reports it to the host
        answer = as_failure(error)
    reply.write_bytes(encode(answer))


def _describe(message: Message) -> Message:
    """Return the description of a model file."""
    from runner.worker.converters.base import reaches
    from runner.worker.subjects.file import forms_of
    from runner.worker.subjects.files.formats import inspect
    from runner.worker.subjects.subject import Form

    assert isinstance(message, Inspect)
    found = inspect(Path(message.path), message.shapes)
    brought = forms_of(found.kind, found.precision)
    reachable = [reaches(Form(kind, precision), brought) for kind, precision in message.forms]
    return replace(found, reachable=reachable)


def _check(message: CheckNetwork) -> Network:
    """Return what a network is, from the cache if it was checked before."""
    from runner.worker.subjects.network_check import check_network

    return check_network(message.job)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
