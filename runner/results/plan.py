"""A run that is still to be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.config.schema import RunConfig

SELF_COMPARISON = "A/A"
"""A run of a configuration against itself."""


WHOLE = "whole"
"""The first row of an ablation: everything together, against the baseline."""


@dataclass(frozen=True)
class Plan:
    """A run that is still to be made."""

    config: RunConfig
    baseline: RunConfig
    reference: RunConfig
    """The fp32 configuration whose logits are the reference for accuracy."""
    settings: dict[str, Any]
    """The flattened resolved configuration, its secrets hidden."""
    yaml: str
    """The resolved configuration, for the run's folder, its secrets hidden."""
    label: str
    fingerprint: str
    part: str = ""
    """SELF_COMPARISON; in an ablation WHOLE, or the setting that the baseline of this run reverts; else empty."""
