"""What is imported with a large library."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runner.paths import PROJECT

PROGRAM = """
import sys
from runner.worker.libraries import prepare_transformers
prepare_transformers()
from transformers import DistilBertForSequenceClassification
assert not {"sklearn", "pandas"} & sys.modules.keys(), "they take time and memory"
import sklearn.datasets
"""


@pytest.mark.slow
def test_transformers_imports_no_more_than_it_needs():
    """And scikit-learn can be imported afterwards, for the digits."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
