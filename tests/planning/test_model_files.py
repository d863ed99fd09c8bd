"""What a model file decides about a run."""

from __future__ import annotations

import numpy as np
import pytest

from runner.config.composition import compose_settings
from runner.planning.model_files import apply_file
from tests.worker.subjects.models import one_convolution

pytestmark = pytest.mark.usefixtures("hydra_context")


def words(path, *more):
    return ["model=file", f"model.path={path}", "precision=int8", "data.calibration_samples=2", *more]


def test_synthetic_samples_fill_the_batch_that_a_file_fixes(tmp_path):
    """Calibration takes whole batches: two samples cannot fill one of three."""
    settings = compose_settings(words(one_convolution(tmp_path / "fixed.onnx")))
    assert apply_file(settings) == []
    assert (settings.batch_size, settings.data.calibration_samples) == (3, 3)


@pytest.mark.parametrize(("precision", "is_mistake"), [("int8", True), ("int8_accuracy", True), ("fp32", False)])
def test_too_few_arrays_for_the_batch_that_a_file_fixes(tmp_path, precision, is_mistake):
    """The user chose them, so the user is told how many there must be; without calibration any number does."""
    np.savez(tmp_path / "own.npz", image=np.zeros((8, 3, 6, 10), np.float32))
    path = one_convolution(tmp_path / "fixed.onnx")
    more = ["data=arrays", f"data.path={tmp_path / 'own.npz'}", f"precision={precision}"]
    settings = compose_settings(words(path, *more))
    found = [(one.field, one.allowed) for one in apply_file(settings)]
    told = ("data.calibration_samples", f"at least 3, the batch that {path} fixes")
    assert found == ([told] if is_mistake else [])
