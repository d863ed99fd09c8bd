"""The backends: one module each, with a class ``Runtime`` that implements :mod:`runner.worker.backends.base`."""

import os

from runner.protocol import BACKENDS_VARIABLE

__path__ += [folder for folder in os.environ.get(BACKENDS_VARIABLE, "").split(os.pathsep) if folder]
