"""The three configurations of a run: its own, the baseline and the fp32 reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from omegaconf import DictConfig, OmegaConf

from runner.config.checks import check
from runner.config.composition import COMPOSITION_ERRORS, derive, typed
from runner.config.diagnostics import diagnose
from runner.config.schema import Precision, RowConfig, RunConfig
from runner.errors import ConfigurationError, Mistake


@dataclass(frozen=True)
class Roles:
    """A run's own configuration and the two derived from it."""

    settings: DictConfig
    """The run's own configuration, composed."""
    config: RunConfig
    """The run's own configuration, typed."""
    baseline: RunConfig
    """What the speedup is relative to."""
    reference: RunConfig
    """What accuracy is compared with: fp32."""

    def __iter__(self) -> Iterator[RunConfig]:
        """Yield the run's own configuration, the baseline and the reference."""
        return iter((self.config, self.baseline, self.reference))

    def with_baseline(self, overrides: Sequence[str], baseline: RunConfig) -> Roles:
        """Return the same run with another baseline. It no longer reproduces a row of a published table.

        Args:
            overrides: the overrides that turn the run's configuration into the baseline.
            baseline: the resulting configuration.
        """
        settings = self.settings.copy()
        OmegaConf.update(settings, "baseline", list(overrides), merge=False)
        OmegaConf.update(settings, "row", OmegaConf.structured(RowConfig), merge=False)
        return Roles(settings, typed(settings), baseline, self.reference)


def derive_roles(settings: DictConfig, config: RunConfig) -> tuple[Roles, list[Mistake]]:
    """Return a run's three configurations, and the mistakes in the baseline and the reference.

    Args:
        settings: the run's own configuration, composed.
        config: the same configuration, typed. It must be free of mistakes.

    Raises:
        ConfigurationError: the overrides of the baseline or the reference cannot be composed.
    """
    baseline, in_baseline = derived_config("baseline", settings, config.baseline)
    reference, in_reference = derived_config("reference", settings, config.reference)
    if reference.precision.name not in (Precision.fp32, Precision.as_is):  # as_is: a file that holds no fp32
        allowed = "overrides with precision=fp32, the truth for accuracy"
        in_reference.append(Mistake("reference", config.reference, allowed))
    return Roles(settings, config, baseline, reference), [*in_baseline, *in_reference]


def derived_config(role: str, settings: DictConfig, overrides: Sequence[str]) -> tuple[RunConfig, list[Mistake]]:
    """Return a run's configuration with overrides applied, and the mistakes in it.

    Args:
        role: purpose of the configuration, for example ``baseline``; prefix of the field in each mistake.
        settings: the run's own configuration, composed.
        overrides: the settings to replace.

    Raises:
        ConfigurationError: the overrides cannot be composed.
    """
    try:
        config = typed(derive(settings, overrides))
    except COMPOSITION_ERRORS as error:
        found = diagnose(overrides, error).mistakes
        raise ConfigurationError(replace(one, field=f"{role}: {one.field}") for one in found) from error
    return config, [replace(one, field=f"{role}: {one.field}") for one in check(config)]
