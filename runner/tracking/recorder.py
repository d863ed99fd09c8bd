"""Record a sweep, while it runs or later, with the same idempotent steps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.config.redaction import hide_in_text
from runner.config.schema import RunConfig, TrackingConfig
from runner.machine.attempt import attempt_tags
from runner.results import metrics
from runner.results.files import RESULT_FILE
from runner.results.result import Result
from runner.results.status import Status
from runner.results.store import NOTES_FILE, sweep_id_of
from runner.tracking.client import (
    DIGEST_TAG,
    MACHINE_CLASS_TAG,
    PARENT_TAG,
    PLACE_TAG,
    SUPERSEDED_TAG,
    SWEEP_ID_TAG,
    SWEEP_TAG,
    CancellableClient,
    TimeBudget,
    import_mlflow,
    open_client,
    open_experiment,
    tracking_uri,
)
from runner.tracking.inputs import Inputs

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE_TAG = "mlflow.note.content"
"""MLflow's own tag of a run's description."""
ARTIFACTS = (
    "config.yaml",
    "launch-candidate.json",
    "launch-baseline.json",
    "evidence.json",
    "rounds.csv",
    RESULT_FILE,
)
"""Files of a run's folder that are copied to the store; raw batch times and logits stay in the folder."""
LOG_FILE = "candidate.log"
"""The worker's log with all output of its libraries; it is stored with known secrets hidden."""
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
ENDED = {
    Status.ok: FINISHED,
    Status.unsupported: FINISHED,
    Status.unavailable: FINISHED,
    Status.dropped: FINISHED,
    Status.interrupted: KILLED,
}
"""MLflow's statuses of runs; all other statuses become FAILED."""
MAX_TAG = 5000
"""Maximum length of a tag value: MLflow documents 8,000, some stores accept less."""
MAX_CHILDREN = 50_000
"""Maximum number of runs that one search returns."""


class Recorder:
    """Records one sweep in a store, which may already contain a part of it."""

    def __init__(self, client: MlflowClient | CancellableClient, experiment: str, folder: Path) -> None:
        """Set where to record.

        Args:
            client: of the store.
            experiment: id of the experiment.
            folder: of the sweep.
        """
        self._client = client
        self._experiment = experiment
        self._sweep = folder.name
        self._sweep_id = sweep_id_of(folder)
        self._parent = ""
        self._inputs = Inputs(client, experiment)
        self._known: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        """Ids and result digests of recorded children, by folder name, machine class and fingerprint."""

    @property
    def _tag(self) -> str:
        """The tag that identifies the sweep: plans of schema 1 have no id but their name."""
        return SWEEP_TAG if self._sweep_id == self._sweep else SWEEP_ID_TAG

    def start(self, machine: Path, machine_name: str, attempt: Mapping[str, str]) -> None:
        """Create the parent run, or find it and its children.

        Args:
            machine: file with the description of the machine, an artifact of the parent run.
            machine_name: for the parent run's tag.
            attempt: who measured, and with which version of the program.
        """
        found = self._client.search_runs(
            [self._experiment], f"tags.{self._tag} = '{self._sweep_id}'", max_results=MAX_CHILDREN
        )
        parents = [run for run in found if PARENT_TAG not in run.data.tags]
        for run in found:
            tags = run.data.tags
            if PARENT_TAG in tags and SUPERSEDED_TAG not in tags:
                digest = tags.get(DIGEST_TAG, "") if run.info.status != RUNNING else ""  # empty: incompletely recorded
                key = tags.get(PLACE_TAG, ""), tags.get(MACHINE_CLASS_TAG, ""), tags.get("fingerprint", "")
                self._known.setdefault(key, []).append((run.info.run_id, digest))
        if parents:
            self._parent = str(parents[0].info.run_id)
            self._client.update_run(self._parent, status=RUNNING)
            return
        tags = {SWEEP_TAG: self._sweep, SWEEP_ID_TAG: self._sweep_id, "machine": machine_name}
        tags |= _system_tags(attempt)
        self._parent = str(self._client.create_run(self._experiment, tags=tags, run_name=self._sweep).info.run_id)
        self._client.log_artifact(self._parent, str(machine))

    def record(self, result: Result, folder: Path, place: str) -> bool:
        """Create the child run of a result; child runs of earlier results of the same run get the tag SUPERSEDED_TAG.

        Args:
            result: of the run.
            folder: with the run's files.
            place: name of the run's folder in the sweep's folder when it was measured.

        Returns:
            True if it was recorded now, False if the store already contained it.
        """
        known = self._known.setdefault((place, result.machine_class, result.fingerprint), [])
        digest = _digest(folder / RESULT_FILE)
        present = next((run_id for run_id, one in known if digest and one == digest), None)
        run_id = present or self._create(result, folder, place, digest)
        for earlier, _ in known:
            if earlier != run_id:
                self._client.set_tag(earlier, SUPERSEDED_TAG, run_id)
        known[:] = [(run_id, digest)]
        return present is None

    def finish(self, files: Sequence[Path], *, interrupted: bool) -> None:
        """Add the sweep's files to the parent run and end it."""
        for file in files:
            self._client.log_artifact(self._parent, str(file))
            if file.name == NOTES_FILE:
                self._client.set_tag(self._parent, NOTE_TAG, _answer(file)[:MAX_TAG])
        self._client.set_terminated(self._parent, KILLED if interrupted else FINISHED)

    def _create(self, result: Result, folder: Path, place: str, digest: str) -> str:
        """Create a child run and return its id. The digest is set last: without it a run is incompletely recorded."""
        from mlflow.entities import Metric, Param, RunTag

        now = int((result.ended_at or time.time()) * 1000)
        child = self._client.create_run(
            self._experiment,
            start_time=now - int(result.wall_s * 1000),
            tags={
                PARENT_TAG: self._parent,
                SWEEP_TAG: self._sweep,
                SWEEP_ID_TAG: self._sweep_id,
                PLACE_TAG: place,
                "fingerprint": result.fingerprint,
                "environment": result.environment,
                **_system_tags(result.attempt),
            },
            run_name=f"{place.partition('_')[0]} {result.label}",
        )
        run_id = str(child.info.run_id)
        measured = [Metric(name, value, now, 0) for name, value in metrics.metrics(result).items()]
        if result.shown is not None:
            rounds = enumerate(result.shown.round_throughput)
            measured += [Metric("round_throughput", value, now, step) for step, value in rounds]
        for name in ARTIFACTS:
            if (folder / name).is_file():
                self._client.log_artifact(run_id, str(folder / name))
        if (folder / LOG_FILE).is_file():
            log = hide_in_text((folder / LOG_FILE).read_text(encoding="utf-8", errors="replace"))
            self._client.log_text(run_id, log, LOG_FILE)
        self._inputs.record(run_id, result)
        tags = metrics.tags(result) | {DIGEST_TAG: digest}
        self._client.log_batch(
            run_id,
            metrics=measured,
            params=[Param(name, value) for name, value in metrics.params(result).items()],
            tags=[RunTag(name, value[:MAX_TAG]) for name, value in tags.items()],
        )
        self._client.set_terminated(run_id, ENDED.get(result.status, FAILED), end_time=now)
        return run_id


class Tracker:
    """Records a sweep while it runs, until the first failure of the store."""

    def __init__(self, config: TrackingConfig, output_dir: Path, folder: Path, warn: Callable[[str], None]) -> None:
        """Set where to record.

        Args:
            config: the sweep's tracking settings.
            output_dir: contains the default store.
            folder: of the sweep; its name is the sweep's name.
            warn: called with a message if the store fails.
        """
        self._config = config
        self._output_dir = output_dir
        self._folder = folder
        self._warn = warn
        self._recorder: Recorder | None = None
        self._uri = tracking_uri(config, output_dir)
        self._budget = TimeBudget(self._uri)

    def start(self, machine: Path, machine_name: str) -> None:
        """Create the parent run, or find it if the sweep is resumed; see :meth:`Recorder.start`."""
        if not self._config.enabled:
            return
        try:
            import_mlflow()  # slow; outside the server's time budget
            self._recorder = self._budget.spend(lambda: self._open(machine, machine_name))
        except Exception as error:
            self._give_up(error)

    def record(self, result: Result, folder: Path) -> None:
        """Create the child run of a result."""
        self._attempt(lambda recorder: recorder.record(result, folder, folder.name))

    def finish(self, files: Sequence[Path], *, interrupted: bool) -> None:
        """Add the sweep's files to the parent run and end it."""
        self._attempt(lambda recorder: recorder.finish(files, interrupted=interrupted))

    def _open(self, machine: Path, machine_name: str) -> Recorder:
        client = open_client(self._uri)
        experiment = open_experiment(client, self._config.experiment, self._output_dir, self._uri)
        recorder = Recorder(CancellableClient(client, self._budget), experiment, self._folder)
        recorder.start(machine, machine_name, attempt_tags())
        return recorder

    def _attempt(self, step: Callable[[Recorder], object]) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        try:
            self._budget.spend(lambda: step(recorder))
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Stop recording and warn, with the command that records the sweep later from the run folders."""
        self._recorder = None
        lines = hide_in_text(str(error)).strip().splitlines()
        reason = lines[0][:200] if lines else type(error).__name__
        words = ["runner sync", self._folder.name]
        if str(self._output_dir) != RunConfig.output_dir:
            words += ["--output-dir", str(self._output_dir)]
        if self._config.experiment != TrackingConfig.experiment:
            words += ["--experiment", self._config.experiment]
        if self._config.uri:
            words += ["--uri", hide_in_text(self._config.uri)]
        remedy = f"{' '.join(words)} records them later"
        self._warn(f"tracking: {reason}; the results are in {self._folder}, {remedy}")


def _system_tags(attempt: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that MLflow's UI shows as source, user and version.

    Args:
        attempt: who measured, and with which version of the program.
    """
    words = {
        "mlflow.source.name": "runner",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": attempt.get("user", ""),
        "mlflow.source.git.commit": attempt.get("commit", ""),
    }
    return {name: word for name, word in words.items() if word}


def _answer(notes: Path) -> str:
    """Return what a sweep's run has as description in MLflow's UI: the answer, and how to see more."""
    lines = notes.read_text(encoding="utf-8").splitlines()
    said = [line.removeprefix("answer: ") for line in lines if line.startswith("answer: ")]
    return "\n\n".join([*said, "`report.html` among the artifacts is the whole report."])


def _digest(file: Path) -> str:
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
    except FileNotFoundError:  # not written because the disk was full; the result is recorded anyway
        return ""
