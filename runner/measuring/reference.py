"""The fp32 references of a sweep: what the answers of its rows are compared with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from runner.analysis.accuracy import Accuracy
from runner.analysis.text_accuracy import compare_answers
from runner.config.schema import RunConfig
from runner.job import Job
from runner.measuring.member import Member
from runner.results.status import RunFailed, Status, attribute_failure_to


class References:
    """Computes each reference once, and compares rows with it."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._files: dict[str, Path] = {}

    def compare(self, member: Member, config: RunConfig, baseline: Member) -> Accuracy:
        """Compare a row's answers with the labels, and with those of fp32 on the same samples.

        Args:
            member: the row's; it must have a process.
            config: of the fp32 reference.
            baseline: of the row's block; it answers if it is the reference.

        Raises:
            RunFailed: one of the processes failed, or the reference has other weights or samples.
            InvalidOutput: the answers are not valid.
        """
        mine = member.evaluate(member.folder / "logits.npz", cached=False)
        with attribute_failure_to("its fp32 reference"):
            truth = self._file(config, member, baseline)
        with member.timer.book("accuracy"), np.load(mine) as own, np.load(truth) as reference:
            for subject in ("weights", "data"):
                if str(own[subject]) != str(reference[subject]):
                    reason = f"its fp32 reference has other {subject}: it changed during the sweep, or by `reference`"
                    raise RunFailed(Status.failed, reason)
            return compare_answers(own, reference)

    def _file(self, config: RunConfig, member: Member, baseline: Member) -> Path:
        reference = Member("reference", config, member.folder, "reference", member.on_phase, member.timer)
        launches = reference.launches
        key = _subject(launches[0].job)
        if key not in self._files:
            path = member.folder / "reference.npz"
            if baseline.instances is not None and baseline.instances.launches == launches:
                baseline.evaluate(path, cached=True)
            else:
                try:
                    reference.start()
                    reference.finish_load()
                    reference.evaluate(path, cached=True)
                finally:
                    reference.stop()
            self._files[key] = path
        return self._files[key]


def _subject(job: Job) -> str:
    """Return what a reference depends on: the network and the samples, but not the batch size."""
    fields = asdict(job)
    del fields["run"]["batch_size"]
    return json.dumps(fields, sort_keys=True)
