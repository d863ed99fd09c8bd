"""The plan of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.config.schema import RunConfig

SELF_COMPARISON = "A/A"
"""`Plan.part` of a run of a configuration against itself."""


WHOLE = "whole"
"""`Plan.part` of the first row of an ablation: all settings together against the baseline."""


@dataclass(frozen=True)
class Plan:
    """Everything that is known about a run before it is measured."""

    config: RunConfig
    baseline: RunConfig
    reference: RunConfig
    """The fp32 configuration whose logits are the reference for accuracy."""
    settings: dict[str, Any]
    """The flattened resolved configuration with secrets hidden."""
    yaml: str
    """The resolved configuration as YAML, for the run's folder, with secrets hidden."""
    label: str
    fingerprint: str
    baseline_fingerprint: str = ""
    """The same for the baseline alone."""
    overrides: tuple[str, ...] = ()
    """The words of a command line that ask for this configuration alone, with secrets hidden."""
    place: int = 0
    """Number in the whole sweep, from 1, of a run of a shard; 0 in a sweep that has no shards."""
    part: str = ""
    """SELF_COMPARISON for A/A; in an ablation WHOLE or the setting that this run's baseline reverts; else empty."""
