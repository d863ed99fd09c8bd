"""A runtime for tests of the harness: its speed and faults are options, and it needs no inference library."""

import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np

from runner.protocol import CONTRADICTED, Finding
from runner.worker.backends import base
from runner.worker.failures import Unsupported
from runner.worker.subjects.subject import MODULE


class Runtime(base.Runtime):
    """Sleeps for every batch, and fails where its options request it."""

    def __init__(self, settings, *, batch_s=0.002, fault="", at="load"):
        """Store the options.

        Args:
            settings: the settings that all runtimes share.
            batch_s: seconds per batch.
            fault: a key of `_FAILURES`, or a fault of `bind`, `counters` or `evidence`; empty for none.
            at: the method in which a failure occurs: init, load, bind or step.
        """
        super().__init__(settings)
        self._batch_s, self._fault, self._at = batch_s, fault, at
        self._steps = 0
        self._fail_at("init")

    def accepted(self):
        """Return the module, which needs no files; it is not loaded."""
        return (MODULE,)

    def load(self, model):
        """Load nothing, and print to the log."""
        print("fake: this line goes to the log, not to the channel")
        self._fail_at("load")

    def bind(self, batch):
        """Return a step that sleeps, and classifies with fixed random weights."""
        self._fail_at("bind")
        images = batch["images"]
        flat = images.reshape(len(images), -1)
        projection = np.random.default_rng(0).standard_normal((flat.shape[1], 10), np.float32)
        logits = flat @ projection
        if self._fault == "not a number":
            logits[0, 0] = np.nan
        if self._fault == "constant":
            logits[:] = 1.0

        def step():
            self._steps += 1
            if self._steps == 5:  # during the timed phase, or during the warm-up
                self._fail_at("step")
            time.sleep(self._batch_s)
            return logits

        return step

    def outputs(self, batch):
        """Return the step's outputs, which are the logits; die for the fault `answers`."""
        if self._fault == "answers":
            _signal(signal.SIGSEGV)()
        return {"logits": self.bind(batch)()}

    def counters(self):
        """Count each batch as a compilation if the fault is `recompile`."""
        return {"graphs compiled": self._steps} if self._fault == "recompile" else {}

    def evidence(self, probe):
        """Fail for the fault `mute`, contradict the precision for `lie`, else return no findings."""
        if self._fault == "mute":
            raise RuntimeError("the fake has no evidence")
        if self._fault != "lie":
            return []
        return [Finding("precision", "int8", "fp32", CONTRADICTED, "the fake", "take backend.options.fault=")]

    def _fail_at(self, place):
        if place == self._at:
            _fail(self._fault)


def _fail(fault):
    """Fail as `_FAILURES` defines; other faults do nothing here."""
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
    """Start children in separate sessions, which a signal to the worker's group does not reach, and hang."""
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
    "raise": _raise(ValueError("the fake fails as configured\nwith a second line")),
    "unsupported": _raise(Unsupported("the fake does not implement this precision: take precision=fp32")),
    "missing": _raise(ModuleNotFoundError("No module named 'nowhere'", name="nowhere")),
    "memory": _raise(MemoryError("the fake is out of memory")),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segv": _signal(signal.SIGSEGV),
    "abort": _abort,
    "exit": lambda: os._exit(3),
    "hang": _hang,
    "children": _hang_with_children,
    "noise": lambda: os.write(1, b"\0\xff{]\n" * 100_000),
    "garbage": _send(b"\0\xff no message\n"),
    "other": _send(b'{"type": "Warm", "steady": true, "seconds": 1, "iterations": 1, "batch_ms": 1.0}\n'),
    "close": _close,
}
