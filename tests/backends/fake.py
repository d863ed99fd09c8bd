"""A runtime for the tests of the harness: its speed and its faults are options, and it imports no library."""

import os
import signal
import sys
import time

import numpy as np

from runner.protocol import CONTRADICTED, Finding
from runner.worker.failures import Unsupported


class Runtime:
    """Sleeps for every batch, and fails where it is told to."""

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
    if fault == "raise":
        raise ValueError("the fake was told to fail\nwith a second line")
    if fault == "unsupported":
        raise Unsupported("the fake has no such arithmetic: take precision=fp32")
    if fault == "missing":
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "abort":
        sys.stderr.write("free(): invalid pointer\n")
        sys.stderr.flush()
        os.abort()
    if fault == "exit":
        os._exit(3)
    if fault == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
