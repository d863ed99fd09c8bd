"""The model of this folder for MLflow: mlflow models serve --model-uri FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


class Predictor:
    """A model as MLflow calls it."""

    def __init__(self, folder: Path) -> None:
        """Load the model of a folder."""
        sys.path.insert(0, str(folder))
        from run import run_padded  # type: ignore[import-not-found]  # in the folder
        from runtime import Model  # type: ignore[import-not-found]  # in the folder

        self._facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self._model = Model(folder / "model", self._facts["runtime"])
        self._run = run_padded

    def predict(self, inputs: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: ARG002 -- MLflow's
        """Return the outputs by name for inputs by name, or for the array of the only input: samples in rows."""
        ports = self._facts["inputs"]
        given = inputs if isinstance(inputs, dict) else {ports[0]["name"]: inputs}
        batch = {one["name"]: np.ascontiguousarray(given[one["name"]], one["dtype"]) for one in ports}
        size, count = self._facts["batch_size"], len(next(iter(batch.values())))
        found = [
            self._run(self._model, {name: values[start : start + size] for name, values in batch.items()}, size)
            for start in range(0, count, size)
        ]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def _load_pyfunc(folder: str) -> Predictor:
    """Return the model; MLflow calls this."""
    return Predictor(Path(folder))
