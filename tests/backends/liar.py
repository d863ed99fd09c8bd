"""Torch, with one of its settings changed behind the program's back: what the evidence must catch."""

import os
import time

import torch

from runner.worker.backends.torch_module import TorchModule


class Runtime(TorchModule):
    """A linear layer that runs as asked but for one lie."""

    def __init__(self, settings, *, lie=""):
        """Keep the lie: threads, affinity, or recompilation."""
        super().__init__(settings)
        self._lie = lie
        self._compiled = lie == "recompilation"

    def recipe(self, network, dataset, fetch):
        """Need no files."""

    def load(self, network, artifact):
        """Build the layer, and do what a library might do when it is imported or called."""
        if self._lie == "threads":
            torch.set_num_threads(1)
        if self._lie == "affinity":
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self._module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
        self._module(self.example(network.image_size))
        if self._lie == "recompilation":
            self._module = torch.compile(self._module, dynamic=False)

    def bind(self, images):
        """Return a step; the one that lies runs another number of images in each of the first seconds."""
        step = super().bind(images)
        if self._lie != "recompilation":
            return step
        steps = [super(Runtime, self).bind(images[: 1 + number]) for number in range(7)]
        begin = time.monotonic()

        def changing():
            steps[min(6, int(time.monotonic() - begin))]()
            return step()

        return changing

    def _set_threads(self):
        """Leave the number of threads alone: the lie would be put right."""
