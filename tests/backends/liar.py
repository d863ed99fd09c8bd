"""PyTorch with one setting that silently does not take effect, which the evidence must contradict."""

import dataclasses
import os
import time

import torch

from runner.worker.backends.torch_module import TorchModule
from runner.worker.subjects.subject import MODULE


class Runtime(TorchModule):
    """A linear layer that runs as requested, except for one setting."""

    def accepted(self):
        """Return the module."""
        return (MODULE,)

    def __init__(self, settings, *, lie=""):
        """Store the setting to falsify: threads, affinity or recompilation; empty for none."""
        super().__init__(settings)
        self._lie = lie
        self._compiled = lie == "recompilation"

    def load(self, model):
        """Build the layer, and change the setting as a library might on import or in a call."""
        if self._lie == "threads":
            torch.set_num_threads(1)
        if self._lie == "affinity":
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self._module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
        self._subject = model.subject
        args, _ = self.example(model)
        self._module(*args)
        self._macs = args[0].numel() * 10
        if self._lie == "recompilation":
            self._module = torch.compile(self._module, dynamic=False)

    def bind(self, batch):
        """Return a step; for `recompilation`, it runs a different number of images in each of the first seconds."""
        step = super().bind(batch)
        if self._lie != "recompilation":
            return step
        parts = [{name: values[: 1 + number] for name, values in batch.items()} for number in range(7)]
        steps = [super(Runtime, self).bind(part) for part in parts]
        start = time.monotonic()

        def changing():
            steps[min(6, int(time.monotonic() - start))]()
            return step()

        return changing

    def evidence(self, probe):
        """Return the findings for the layer, whose work is not that of the run's network."""
        return super().evidence(dataclasses.replace(probe, macs=self._macs))

    def _set_threads(self):
        """Keep the current number of threads: setting it would correct the falsified one."""
