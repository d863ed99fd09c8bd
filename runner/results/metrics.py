"""Names and values of a result's parameters, metrics and tags, common to the tracking store, the tables and the CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runner.analysis.findings import summary
from runner.analysis.published import compare, missing_isa
from runner.analysis.statistics import Verdict
from runner.results.result import MIN_P99_SAMPLES, Result

CHOICES = {
    "model": "model.name",
    "backend": "backend.name",
    "precision": "precision.name",
    "allocator": "allocator.name",
    "hugepages": "hugepages.name",
    "threading": "threading.name",
    "instances": "instances",
    "scenario": "scenario",
    "scope": "scope",
}
"""Short names of parameters that every row has, and the settings that they repeat."""


def params(result: Result) -> dict[str, str]:
    """Return the configuration as parameters: the choices under short names, then every setting."""
    short = {name: str(result.settings[setting]) for name, setting in CHOICES.items()}
    # Both a group's own name (model.name) and its short form (model) can be searched for.
    return short | {name: str(value) for name, value in result.settings.items()}


def metrics(result: Result) -> dict[str, float]:
    """Return the numbers of a run; values that were not measured have no entry."""
    values: dict[str, float | None] = {
        "load_s": result.load_s,
        "prepare_s": result.prepare_s,
        "first_inference_s": result.first_inference_s,
        "rss_peak_mib": result.rss_peak_mib,
        "artifact_mib": result.artifact_mib,
        "host_cpu_share": result.host_cpu_share,
        "wall_s": result.wall_s,
        "peak_share": result.peak_share,
        "published_throughput": published(result, "throughput"),
        "published_speedup": published(result, "speedup"),
        "published_speedup_high": published(result, "speedup_high"),
        "steady": result.steady,
    }
    values |= {f"phase_{name.replace(' ', '_').replace('-', '_')}_s": s for name, s in result.phases.items()}
    if (measured := result.shown) is not None:
        values |= {
            "throughput": measured.throughput.value,
            "throughput_ci_low": measured.throughput.low,
            "throughput_ci_high": measured.throughput.high,
            "baseline_throughput": measured.baseline_throughput.value,
            "speedup": measured.speedup.value,
            "speedup_ci_low": measured.speedup.low,
            "speedup_ci_high": measured.speedup.high,
            "latency_p50_ms": measured.latency_p50_ms,
            "latency_p90_ms": measured.latency_p90_ms,
            "latency_p99_ms": measured.latency_p99_ms if measured.latency_samples >= MIN_P99_SAMPLES else None,
            "latency_max_ms": measured.latency_max_ms,
            "rounds": measured.rounds,
            "replicates": len(measured.replicates) or None,
            "speedup_all_rounds": measured.speedup_all_rounds,
            "latency_samples": measured.latency_samples,
            "noise_floor": measured.noise_floor,
            "rounds_contaminated": measured.rounds_contaminated,
            "minor_faults_per_batch": measured.minor_faults_per_batch,
            "first_token_ms": measured.first_token_ms,
            "token_ms": measured.token_ms,
            "tokens_per_s": measured.throughput.value * (measured.new_tokens or measured.tokens_per_sample) or None,
        }
    if result.accuracy is not None:
        accuracy = result.accuracy
        values |= {
            "accuracy_top1": accuracy.top1,
            "accuracy_reference_top1": accuracy.reference_top1,
            "accuracy_delta_pp": accuracy.delta_pp,
            "accuracy_delta_ci_low_pp": accuracy.delta_low_pp,
            "accuracy_delta_ci_high_pp": accuracy.delta_high_pp,
            "agreement_top1": accuracy.agreement_top1,
            "flips": accuracy.flips,
            "sqnr_db": accuracy.sqnr_db,
            "kl": accuracy.kl,
            "accuracy_drop_pp": accuracy.drop_pp,
            "accuracy_drop": accuracy.drop_percent,
            "accuracy_samples": accuracy.samples,
            "accuracy_gate_samples": accuracy.gate_samples,
            **accuracy.scores,
        }
    return {name: float(value) for name, value in values.items() if value is not None}


def tags(result: Result) -> dict[str, str]:
    """Return the texts of a run."""
    words = {
        "label": result.label,
        "row": result.label,
        "table": str(result.settings.get("row.table", "")),
        "status": str(result.status),
        "reason": result.reason,
        "fingerprint": result.fingerprint,
        "machine": result.machine,
        "machine_class": result.machine_class,
        **result.attempt,
        "verdict": "",
        "accuracy_gate": "",
        "row_verdict": "",
        "row_reason": "",
        "published": "derived" if published(result, "derived") else "",
        "evidence": summary(result.evidence),
        "disturbances": "",
        "notes": "; ".join(result.notes),
        "accuracy_failure": result.accuracy_failure,
        "evidence_failure": result.evidence_failure,
        "own_costs": "",
    }
    if (measured := result.shown) is not None:
        words["verdict"] = str(measured.verdict)
        words["disturbances"] = "; ".join(measured.disturbances)
        words["own_costs"] = "; ".join(measured.own_costs)
        if words["table"]:
            needs = result.settings.get("row.needs") or []
            compared = compare(
                published(result, "speedup"),
                measured.speedup,
                measured.noise_floor,
                missing_isa(needs, result.isa),
                published_high=published(result, "speedup_high"),
            )
            note = str(result.settings.get("row.note") or "")
            words |= {
                "row_verdict": str(measured.verdict if measured.verdict is Verdict.too_noisy else compared.verdict),
                "row_reason": "; ".join(part for part in (compared.reason, note) if part),
            }
    elif words["table"]:
        words["row_verdict"] = str(result.status)
    if result.accuracy is not None:
        words["accuracy_gate"] = gate_words(result)
    return words


def published(result: Result, number: str) -> float | None:
    """Return a published value of the row's table for the run's model; None if none was published.

    Args:
        result: of the run.
        number: throughput, speedup, speedup_high or derived.
    """
    value = result.settings.get(f"row.published.{result.settings['model.name']}.{number}")
    return None if value is None else float(value)


def gate_words(result: Result) -> str:
    """Return pass or fail, with `(uncertain)` if the interval contains the threshold; a dash without labels."""
    accuracy = result.accuracy
    if accuracy is None or accuracy.gate is None:
        return "–"
    return str(accuracy.gate) if accuracy.gate_certain else f"{accuracy.gate} (uncertain)"


def row(result: Result) -> dict[str, Any]:
    """Return parameters, metrics and tags as one row, under the column names of the tracking store."""
    return (
        {f"params.{name}": value for name, value in params(result).items()}
        | {f"metrics.{name}": value for name, value in metrics(result).items()}
        | {f"tags.{name}": value for name, value in tags(result).items()}
    )


def number(row: Mapping[str, Any], name: str) -> float | None:
    """Return a metric of a row; None if it is missing, which the tracking store shows as NaN."""
    value = row.get(f"metrics.{name}")
    return None if value is None or math.isnan(value) else float(value)


Row = Mapping[str, Any]


DASH = "–"


def word(row: Row, name: str) -> str:
    """Return a tag of a row; a dash if it is missing or empty."""
    value = row.get(f"tags.{name}")
    return value if isinstance(value, str) and value else DASH
