"""A shipped folder in MLflow's model format."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LOADER = "shipped_pyfunc"
"""The module of :mod:`runner.worker.shipped` with which MLflow loads a model."""


def write_model(folder: Path, loader: Path, facts: dict[str, Any], target: Path) -> None:
    """Write a folder that runs a model as a pyfunc of MLflow, which ``mlflow models serve`` loads.

    Args:
        folder: the shipped one; it is copied.
        loader: the file of LOADER.
        facts: its model.json.
        target: a folder that does not exist, or one of this function, which is replaced.

    Raises:
        OSError: it cannot be written.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    ports: list[Any] = [
        TensorSpec(np.dtype(one["dtype"]), [extent if isinstance(extent, int) else -1 for extent in one["shape"]], name)
        for one in facts["inputs"]
        for name in (one["name"],)
    ]
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        made = Path(work) / "model"
        mlflow.pyfunc.save_model(
            path=str(made),
            loader_module=LOADER,
            data_path=str(folder),
            code_paths=[str(loader)],
            pip_requirements=str(folder / "requirements.txt"),
            signature=ModelSignature(Schema(ports)),
        )
        if target.exists():
            target.rename(Path(work) / "old")
        made.rename(target)
