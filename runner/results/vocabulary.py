"""What the metrics and tags of a run mean; their names are those of MLflow and of the CSV."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metric:
    """A number of a run."""

    unit: str
    """Empty for a ratio, a share or a count."""
    meaning: str
    better: str = ""
    """higher or lower: `runner find` can bound it, and optimise what has an interval; empty for what is no merit."""
    interval: str = ""
    """What its 95 % interval comes from: replicates, batches or samples; empty for a single number."""
    percent: bool = False
    """Whether a share is written in per cent."""
    other_units: dict[str, float] = field(default_factory=dict)
    """Further units of a bound, each in the metric's own."""

    @property
    def shown_unit(self) -> str:
        """The unit in which a bound is written."""
        return "%" if self.percent else self.unit

    @property
    def scale(self) -> float:
        """What one of that unit is in the metric's own."""
        return 0.01 if self.percent else 1.0


METRICS = {
    "throughput": Metric(
        "samples/s", "Of the candidate: the geometric mean over its replicates.", "higher", "replicates"
    ),
    "throughput_ci_low": Metric("samples/s", "Lower end of its 95 % interval, Student's t over replicates."),
    "throughput_ci_high": Metric("samples/s", "Upper end of it."),
    "baseline_throughput": Metric("samples/s", "Of the baseline, measured beside the candidate."),
    "speedup": Metric("", "Candidate ÷ baseline, paired within each replicate."),
    "speedup_ci_low": Metric("", "Lower end of its 95 % interval, Student's t over replicates."),
    "speedup_ci_high": Metric("", "Upper end of it."),
    "speedup_all_rounds": Metric("", "The speedup over all rounds, contaminated ones included."),
    "noise_floor": Metric("", "δ: a speedup within 1 ± δ counts as no measurable effect."),
    "latency_p50_ms": Metric(
        "ms", "Median time of a batch, over all rounds.", "lower", "batches", other_units={"s": 1000.0}
    ),
    "latency_p90_ms": Metric("ms", "90th percentile.", "lower", "batches", other_units={"s": 1000.0}),
    "latency_p99_ms": Metric(
        "ms", "99th percentile; only from 1,000 batches on.", "lower", "batches", other_units={"s": 1000.0}
    ),
    "latency_max_ms": Metric("ms", "The slowest batch."),
    "latency_samples": Metric("", "Batches that the percentiles are taken from."),
    "tokens_per_s": Metric(
        "tokens/s", "Generated, or read in texts of different lengths, without padding.", "higher", "replicates"
    ),
    "first_token_ms": Metric("ms", "Median time to the first generated token.", "lower", other_units={"s": 1000.0}),
    "token_ms": Metric("ms", "Median time per further token."),
    "replicates": Metric("", "Fresh processes of the candidate that were measured."),
    "rounds": Metric("", "Clean rounds in all replicates together."),
    "rounds_contaminated": Metric("", "Rounds that were contaminated and measured again."),
    "minor_faults_per_batch": Metric("", "Page faults of the candidate that needed no disk, per batch."),
    "steady": Metric("", "1 if candidate and baseline reached a steady speed during warm-up, else 0."),
    "rss_peak_mib": Metric(
        "MiB",
        "Peak resident memory of the warm process, before its outputs are collected.",
        "lower",
        other_units={"GiB": 1024.0},
    ),
    "artifact_mib": Metric("MiB", "Size of the files that the backend loaded.", "lower", other_units={"GiB": 1024.0}),
    "load_s": Metric("s", "Imports, weights and data of the first process.", "lower"),
    "prepare_s": Metric("s", "To export, quantise and compile, or to read the results from the cache."),
    "first_inference_s": Metric("s", "Of the first inference."),
    "wall_s": Metric("s", "The run's share of the time of its block."),
    "host_cpu_share": Metric("", "CPU seconds of this program's own process per second of timed phases."),
    "peak_share": Metric("", "Share of the machine's measured peak arithmetic in the run's precision."),
    "accuracy_top1": Metric("", "Share of samples whose label has the largest logit."),
    "accuracy_reference_top1": Metric("", "The same of fp32, on the same samples."),
    "accuracy_delta_pp": Metric(
        "pp",
        "Quality minus that of fp32, in percentage points: of top-1 or F1. For generated text the difference of the "
        "likelihood per token, in per cent.",
    ),
    "accuracy_delta_ci_low_pp": Metric("pp", "Lower end of its 95 % interval, paired over samples."),
    "accuracy_delta_ci_high_pp": Metric("pp", "Upper end of it."),
    "accuracy_drop_pp": Metric(
        "pp", "What is lost: quality of fp32 minus that of the candidate, in percentage points.", "lower", "samples"
    ),
    "accuracy_drop": Metric("%", "The same in per cent of fp32's quality: the gate's measure.", "lower", "samples"),
    "accuracy_samples": Metric("", "Samples that were evaluated."),
    "accuracy_gate_samples": Metric("", "About how many samples would decide the gate, if it is uncertain."),
    "agreement_top1": Metric(
        "",
        "Share of samples with fp32's answer; of an embedding, with the same neighbour.",
        "higher",
        "samples",
        percent=True,
    ),
    "flips": Metric("", "Samples whose answer differs from that of fp32."),
    "sqnr_db": Metric(
        "dB", "Signal to noise of the outputs, with those of fp32 as the signal; the worst output.", "higher"
    ),
    "kl": Metric("nats", "Kullback-Leibler divergence of the class probabilities from those of fp32, mean."),
    "f1": Metric("", "Of answers to questions, as SQuAD computes it."),
    "reference_f1": Metric("", "The same of fp32."),
    "exact_match": Metric("", "Share of answers that equal a right one, as SQuAD computes it."),
    "f1_with_fp32": Metric("", "F1 of the answers with those of fp32 as the right ones."),
    "perplexity": Metric("", "Of the texts' own continuations."),
    "reference_perplexity": Metric("", "The same of fp32."),
    "cosine": Metric("", "Cosine of embeddings with those of fp32, mean over samples."),
    "cosine_min": Metric("", "The smallest of them."),
    "published_throughput": Metric("samples/s", "Of the row, as published for this model."),
    "published_speedup": Metric("", "As published; the lower end if it is a range."),
    "published_speedup_high": Metric("", "The upper end of a published range."),
}
"""Metrics of a run by name; a value that was not measured is missing."""

FAMILIES = {
    "phase_NAME_s": Metric("s", "Seconds in each phase: the run's own, and its share of its baseline's."),
    "cosine NAME": Metric("", "Of a model whose outputs have no known meaning: cosine of output NAME with fp32's."),
    "max_error NAME": Metric("", "The largest absolute difference of that output from fp32's."),
    "equal NAME": Metric("", "Share of equal values of an output that is not floating-point."),
}
"""Metrics that exist once for each phase or output."""

TAGS = {
    "label": "What distinguishes the configuration from the others of its sweep.",
    "row": "The same.",
    "table": "Folder in experiments/ of a published row; empty for others.",
    "status": "How the run ended.",
    "reason": "Why there is no number, in one line.",
    "fingerprint": "Hash of everything that the result depends on.",
    "machine": "Name of the machine.",
    "machine_class": "Kind of machine: CPU model, cores, instruction sets, cores and quota in use.",
    "host": "Who measured, and where: the host's name,",
    "user": "the user,",
    "job": "the scheduler's job,",
    "commit": "and the commit of this program, with a plus if files differ from it.",
    "verdict": "On the speedup.",
    "accuracy_gate": "Whether 99 % of fp32's accuracy is left, with `(uncertain)` if the interval holds the threshold.",
    "row_verdict": "Of a published row: whether its number was reproduced.",
    "row_reason": "Why it was not, and what must be known to compare.",
    "published": "`derived` if the published numbers are computed from other published ones.",
    "evidence": "Settings verified of those observed; `✗` if one differs from what was requested.",
    "disturbances": "What contaminated rounds.",
    "notes": "Remarks about samples, weights and preprocessing.",
    "accuracy_failure": "Why there is no accuracy, although the run was measured.",
    "evidence_failure": "Why there is no evidence, although the run was measured.",
    "own_costs": "Costs that the candidate caused itself, such as throttling by its quota: the numbers include them.",
}
"""Tags of a run by name; one that does not apply is empty or missing."""
