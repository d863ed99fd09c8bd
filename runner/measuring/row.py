"""A planned run while it is measured: what its processes showed, and the result that it ends in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from runner.analysis.accuracy import Accuracy, InvalidOutput
from runner.analysis.findings import contradictions, is_partly_quantised
from runner.machine.environments import find_environment
from runner.measuring.aggregation import aggregate
from runner.measuring.member import Member
from runner.measuring.reference import References
from runner.measuring.round_log import write_rounds
from runner.protocol import Finding, Loaded
from runner.results.plan import Plan
from runner.results.result import Measurement, Result
from runner.results.status import RunFailed, Status

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Row:
    """A planned run and what has been gathered about it."""

    number: int
    """Of the plan, from 0."""
    plan: Plan
    member: Member
    accuracy: Accuracy | None = None
    accuracy_failure: str = ""
    """Why there is no accuracy, although the row was measured."""
    evidence: list[Finding] = field(default_factory=list)
    evidence_failure: str = ""
    """Why there is no evidence, although the row was measured."""
    unwritten: list[str] = field(default_factory=list)
    """What could not be written of it while it was measured."""

    @property
    def is_examined(self) -> bool:
        """Whether evidence and accuracy of a replicate exist, or cannot be had."""
        return bool(self.evidence or self.evidence_failure) and bool(self.accuracy or self.accuracy_failure)

    def observe(self) -> None:
        """Collect the evidence of the row's processes; of a later replicate add what earlier ones did not report.

        Raises:
            RunFailed: a setting did not take effect, or a quantiser left too much of the model in floating point.
        """
        if not self.evidence:  # the first replicate: its peak includes the rounds
            self.member.rss_peak_mib = self.member.running.rss_peak_mib() or self.member.rss_peak_mib
        if self.evidence_failure:  # trying again in each replicate could take each time as long as the limit
            return
        try:
            found = self.member.observe(arithmetic=not self.evidence)
        except RunFailed as failure:
            self.evidence_failure = f"{failure.status}: {failure.reason}"
            return
        known = {(finding.knob, finding.state) for finding in self.evidence}
        self.evidence += [one for one in found if (one.knob, one.state) not in known]
        _refuse(contradictions(found), Status.unsupported if is_partly_quantised(found) else Status.invalid)

    def evaluate(self, references: References, baseline: Member) -> None:
        """Compare the answers with the fp32 reference, once.

        Raises:
            RunFailed: the answers are not valid.
        """
        if self.accuracy is not None or self.accuracy_failure:
            return
        try:
            self.accuracy = references.compare(self.member, self.plan.reference, baseline)
        except InvalidOutput as error:
            raise RunFailed(Status.invalid, f"{error}: look at the weights and the log") from error
        except RunFailed as failure:
            log.info("%s: no accuracy: %s", self.plan.label, failure.reason)
            self.accuracy_failure = f"{failure.status}: {failure.reason}"

    def result(
        self,
        failure: RunFailed | None,
        block: str,
        *,
        steady: bool,
        shared_s: Mapping[str, float],
        wall_s: float,
        write: bool = True,
    ) -> Result:
        """Return the result, and write the row's rounds.

        Args:
            failure: how the row ended, None if it is measured.
            block: name of the block that it was measured in.
            steady: whether its baseline reached a steady speed.
            shared_s: its share of the block's common seconds, by phase: the baseline's.
            wall_s: its share of the block's wall-clock time, in seconds.
            write: false for what is known so far, of which nothing is written.
        """
        member, loaded = self.member, self.member.loaded
        environment = find_environment(self.plan.config.backend.environment)
        unwritten = [*self.unwritten, *(write_rounds(member.folder, member.rounds) if write else [])]
        measurement, failure = self._measurement(failure, block)
        keeps = failure is None or failure.status is Status.dropped
        phases = dict(member.timer.seconds)
        for phase, seconds in shared_s.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
        return Result(
            label=self.plan.label,
            status=failure.status if failure else Status.ok,
            reason=failure.reason if failure else "",
            fingerprint=self.plan.fingerprint,
            baseline_fingerprint=self.plan.baseline_fingerprint,
            settings=self.plan.settings,
            measurement=measurement,
            accuracy=None if not keeps or not self.accuracy else without_gate(self.accuracy, loaded),
            accuracy_failure=self.accuracy_failure,
            evidence_failure=self.evidence_failure,
            phases=phases,
            wall_s=wall_s,
            load_s=loaded.load_s if loaded else None,
            prepare_s=loaded.prepare_s if loaded else None,
            first_inference_s=loaded.first_inference_s if loaded else None,
            rss_peak_mib=member.rss_peak_mib,
            artifact_mib=loaded.artifact_mib if loaded else None,
            rebuilt=loaded.rebuilt if loaded else [],
            steady=member.steady and steady if member.rounds else None,
            host_cpu_share=member.host.share if member.rounds else None,
            evidence=self.evidence,
            digests={"weights": loaded.weights_digest, "data": loaded.data_digest} if loaded else {},
            packages=environment.versions,
            environment=f"{environment.name} {environment.digest}",
            notes=[*(loaded.notes if loaded else []), *filter(None, [loaded.no_gate if loaded else ""]), *unwritten],
            exception=failure.exception if failure else "",
            log_tail=failure.log_tail if failure else "",
        )

    def _measurement(self, failure: RunFailed | None, block: str) -> tuple[Measurement | None, RunFailed | None]:
        """Return what the rounds say, also of a row that failed later: it is stored, but not shown."""
        if self.member.replicates < 2:
            return None, failure
        try:
            return aggregate(self.plan, self.member, block), failure
        except RunFailed as other:  # the instances of a round did not overlap
            return None, failure or other


def without_gate(accuracy: Accuracy, loaded: Loaded | None) -> Accuracy:
    """Return an accuracy without a verdict if it says nothing about trained weights."""
    if loaded is None or not loaded.no_gate:
        return accuracy
    return replace(accuracy, gate=None, gate_certain=False, gate_samples=None)


def refuse_baseline(found: Sequence[Finding]) -> None:
    """Check the evidence of a baseline.

    Raises:
        RunFailed: one of its settings did not take effect, so that no speedup over it is valid.
    """
    _refuse([f"its baseline: {line}" for line in contradictions(found)])


def _refuse(lines: Sequence[str], status: Status = Status.invalid) -> None:
    if lines:
        raise RunFailed(status, "; ".join(dict.fromkeys(lines)))
