"""A runtime for the tests of the harness: its speed and its faults are options, and it imports no library."""

import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np

from runner.protocol import CONTRADICTED, Finding
from runner.worker.failures import Unsupported


class Runtime:
    """Sleeps for every batch, and fails where the options tell it to."""

    def __init__(self, settings, *, batch_s=0.002, fault="", at="load"):
        """Keep the options.

        Args:
            batch_s: seconds that a batch takes.
            fault: one of the words of `_fail`, or nothing.
            at: where the fault strikes: init, load, bind, step, or evaluation.
        """
        self._batch_s, self._fault, self._at = batch_s, fault, at
        self._settings = settings
        self._steps = 0
        self._strike("init")

    def recipe(self, network, dataset, fetch):
        """Need no files."""

    def load(self, network, artifact):
        """Load nothing."""
        print("fake: this line goes to the log, not to the channel")
        self._strike("load")

    def requests(self):
        """Return one, or one per core."""
        return self._settings.requests

    def bind(self, images):
        """Return a step that sleeps and classifies by fixed random weights."""
        self._strike("bind")
        flat = images.reshape(len(images), -1)
        projection = np.random.default_rng(0).standard_normal((flat.shape[1], 10), np.float32)
        logits = flat @ projection
        if self._fault == "not a number":
            logits[0, 0] = np.nan
        if self._fault == "constant":
            logits[:] = 1.0

        def step():
            self._steps += 1
            if self._steps == 5:  # in the middle of the timed phase, or of the warm-up
                self._strike("step")
            time.sleep(self._batch_s)
            return logits

        return step

    def answers(self, images):
        """Return the outputs, which are logits already."""
        return {"logits": self.bind(images)()}

    def marks(self):
        """Generate no text."""
        return []

    def counters(self):
        """Count batches where told to, as if each were a compilation."""
        return {"graphs compiled": self._steps} if self._fault == "recompile" else {}

    def evidence(self, images):
        """Contradict what was asked, or fail, where the fault says so."""
        if self._fault == "mute":
            raise RuntimeError("the fake does not tell")
        if self._fault != "lie":
            return []
        return [Finding("precision", "int8", "fp32", CONTRADICTED, "the fake", "tell the truth")]

    def _strike(self, where):
        if where == self._at:
            _fail(self._fault)


def _fail(fault):
    """Fail as a word says; an unknown one, as those that strike elsewhere, does nothing here."""
    _FAILURES.get(fault, lambda: None)()


def _raise(error):
    def fail():
        raise error

    return fail


def _signal(number):
    def fail():
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return fail


def _abort():
    sys.stderr.write("free(): invalid pointer\n")
    sys.stderr.flush()
    os.abort()


def _hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def _hang_with_children():
    """Children in sessions of their own, which no signal to the worker's group reaches."""
    for command in ("sleep 3600", "trap '' TERM HUP; sleep 3600 & wait"):
        subprocess.Popen(["sh", "-c", command], start_new_session=True)
    _hang()


def _send(message):
    def fail():
        os.write(_channel(), message)
        time.sleep(3600)

    return fail


def _close():
    os.close(_channel())
    time.sleep(3600)


def _channel():
    """Return the descriptor of the socket to the host."""
    return next(number for number in range(3, 100) if _is_socket(number))


def _is_socket(number):
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


_FAILURES = {
    "raise": _raise(ValueError("the fake was told to fail\nwith a second line")),
    "unsupported": _raise(Unsupported("the fake has no such arithmetic: take precision=fp32")),
    "missing": _raise(ModuleNotFoundError("No module named 'nowhere'", name="nowhere")),
    "memory": _raise(MemoryError("the fake has no room")),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segv": _signal(signal.SIGSEGV),
    "abort": _abort,
    "exit": lambda: os._exit(3),
    "hang": _hang,
    "children": _hang_with_children,
    "noise": lambda: os.write(1, b"\0\xff{]\n" * 100_000),
    "garbage": _send(b"\0\xff no message\n"),
    "other": _send(b'{"type": "Warm", "steady": true, "seconds": 1, "iterations": 1}\n'),
    "close": _close,
}
