"""PyTorch, really run, with the fake's faults: for tests of the harness that need a network."""

from runner.worker.backends.fake import _fail  # type: ignore[import-untyped] # a file of RUNNER_BACKENDS

from runner.worker.backends.torch import Runtime as Torch


class Runtime(Torch):
    """Fails where the options tell it to."""

    def __init__(self, settings, *, fault="", at="load", serial=0):
        """Keep the options; `serial` makes configurations differ that do the same."""
        super().__init__(settings)
        self._fault, self._at = fault, at
        self._steps = 0

    def load(self, network, artifact):
        """Load, or fail."""
        if self._at == "load":
            _fail(self._fault)
        super().load(network, artifact)

    def bind(self, images):
        """Return a step that fails in the middle of the timed phase, where it is to."""
        step = super().bind(images)

        def frail():
            self._steps += 1
            if self._at == "step" and self._steps == 5:
                _fail(self._fault)
            return step()

        return frail
