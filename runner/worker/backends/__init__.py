"""The backends, one module each with a class ``Runtime``; see :mod:`runner.worker.backends.base` for the seam."""

import os

EXTRA_BACKENDS_VARIABLE = "RUNNER_BACKENDS"
"""Environment variable naming further folders of backend modules, for those that live outside this package."""

__path__ += [folder for folder in os.environ.get(EXTRA_BACKENDS_VARIABLE, "").split(os.pathsep) if folder]
