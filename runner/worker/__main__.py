"""The measured process: connect to the host, then answer its requests until it sends Stop.

``python -m runner.worker``, with the socket's path in the environment. Libraries print to standard output and standard
error, which the host redirects to a log file.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from typing import BinaryIO

from runner.protocol import (
    CHANNEL_VARIABLE,
    Evaluate,
    Hello,
    Load,
    Message,
    Observe,
    Phase,
    RunSlice,
    Stop,
    WarmUp,
    decode,
    encode,
)
from runner.worker.failures import as_failure
from runner.worker.session import Session
from runner.worker.subprocesses import die_with_parent


def main() -> None:
    """Connect to the host and answer its requests."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    warnings.simplefilter("default")
    die_with_parent()  # the parent is the host, or a launcher that ends with the host
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.connect(os.environ.pop(CHANNEL_VARIABLE))
        with channel.makefile("rwb") as stream:
            serve(stream)  # type: ignore[arg-type]  # a buffered reader and writer, typed as its parts
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # unloading the runtimes takes seconds, and there is nothing to save


def serve(stream: BinaryIO) -> None:
    """Answer requests until the channel closes, the host sends Stop, or a request fails.

    Args:
        stream: the channel to the host: a message per line in both directions.
    """

    def send(message: Message) -> None:
        stream.write(encode(message))
        stream.flush()

    send(Hello(os.getpid()))
    session: Session | None = None
    for line in stream:
        request = decode(line)
        if isinstance(request, Stop):
            return
        try:
            if isinstance(request, Load):
                session = Session(request.job, lambda name: send(Phase(name)))
                send(session.load())
            elif session is None:
                raise RuntimeError(f"{type(request).__name__} before Load")
            else:
                send(answer(session, request))
        except Exception as error:
            logging.exception("the request failed")
            send(as_failure(error))
            return


def answer(session: Session, request: Message) -> Message:
    """Return the reply to one request.

    Raises:
        RuntimeError: the message is not a request for a loaded session.
    """
    if isinstance(request, WarmUp):
        return session.warm_up(request)
    if isinstance(request, RunSlice):
        return session.run_slice(request)
    if isinstance(request, Observe):
        return session.observe(request)
    if isinstance(request, Evaluate):
        return session.evaluate(request.path, cached=request.cached)
    raise RuntimeError(f"not a request: {type(request).__name__}")


if __name__ == "__main__":
    main()
