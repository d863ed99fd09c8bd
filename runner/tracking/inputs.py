"""What a run was measured on, as MLflow's own inputs: a dataset, and a model with its weights."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING

from runner.results.result import Result
from runner.tracking.client import CancellableClient

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, LoggedModelInput

log = logging.getLogger(__name__)

FORBIDDEN = re.compile(r"[/:.%\"']")
"""Characters that MLflow forbids in the name of a model."""
MAX_DIGEST = 36
"""Longest digest of a dataset that MLflow's stores accept, in characters."""
MAX_NAME = 200
MAX_PARAM = 500
"""Longest parameter of a model that MLflow's stores accept, in characters."""
WEIGHTS_TAG = "weights"
"""Tag of a logged model: the digest of its weights. Together with its name it identifies the model."""


class Inputs:
    """Records the inputs of runs, until a store refuses: an old server has no such requests."""

    def __init__(self, client: MlflowClient | CancellableClient, experiment: str) -> None:
        """Record nothing yet.

        Args:
            client: of the store.
            experiment: id of the experiment.
        """
        self._client = client
        self._experiment = experiment
        self._models: dict[tuple[str, str], str] = {}
        self._refused = False

    def record(self, run_id: str, result: Result) -> None:
        """Record the inputs of a run. A refusal is logged; unless it is about this run, no later one is tried."""
        from mlflow.exceptions import MlflowException

        if self._refused or "data" not in result.digests:  # it never loaded its data
            return
        try:
            self._client.log_inputs(run_id, datasets=[_dataset(result)], models=self._model(result))
        except MlflowException as error:
            self._refused = error.error_code != "INVALID_PARAMETER_VALUE"
            who = "the tracking server takes no inputs of runs" if self._refused else f"no inputs of {result.label}"
            log.warning("%s: %s", who, str(error).splitlines()[0][:200])

    def _model(self, result: Result) -> list[LoggedModelInput]:
        """Return the model of a run; the store creates it the first time. Weights without a digest have none."""
        from mlflow.entities import LoggedModelInput

        weights = result.digests.get("weights")
        if not weights:
            return []
        name = FORBIDDEN.sub("_", str(result.settings.get("model.name")))[:MAX_NAME]
        key = name, weights
        if key not in self._models:
            self._models[key] = self._find(*key) or self._create(*key, result)
        return [LoggedModelInput(self._models[key])]

    def _find(self, name: str, weights: str) -> str | None:
        found = self._client.search_logged_models([self._experiment], filter_string=f"name = '{name}'")
        return next((str(one.model_id) for one in found if one.tags.get(WEIGHTS_TAG) == weights), None)

    def _create(self, name: str, weights: str, result: Result) -> str:
        from mlflow.entities import LoggedModelStatus

        settings = {
            key: str(value) for key, value in result.settings.items() if key.split(".")[0] in ("model", "weights")
        }
        made = self._client.create_logged_model(self._experiment, name, tags={WEIGHTS_TAG: weights}, params=settings)
        self._client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
        return str(made.model_id)


def _dataset(result: Result) -> DatasetInput:
    """Return the samples of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = str(result.settings.get("data.name", "data"))
    source = {key.removeprefix("data."): value for key, value in result.settings.items() if key.startswith("data.")}
    samples = result.accuracy.samples if result.accuracy else None
    dataset = Dataset(
        name=name,
        digest=result.digests["data"][:MAX_DIGEST],
        source_type="runner",
        source=json.dumps(source, default=str),
        profile=json.dumps({"samples": samples}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])
