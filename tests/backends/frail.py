"""PyTorch with the failures of the fake backend, for tests of the harness that need a network."""

from runner.worker.backends.fake import _fail  # type: ignore[import-untyped] # a file of RUNNER_BACKENDS

from runner.worker.backends.torch import Runtime as Torch


class Runtime(Torch):
    """Fails where its options request it."""

    def __init__(self, settings, *, fault="", at="load", serial=0):
        """Store the options; `serial` has no effect, but makes configurations differ."""
        super().__init__(settings)
        self._fault, self._at = fault, at
        self._steps = 0

    def load(self, model):
        """Load the network, or fail."""
        if self._at == "load":
            _fail(self._fault)
        super().load(model)

    def bind(self, batch):
        """Return a step that fails during the timed phase if `at` is `step`."""
        step = super().bind(batch)

        def failing():
            self._steps += 1
            if self._at == "step" and self._steps == 5:
                _fail(self._fault)
            return step()

        return failing
