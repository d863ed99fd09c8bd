"""The three configurations of a run: its own, its baseline's and its fp32 reference's."""

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
    """A run's own configuration and the two that are derived from it."""

    settings: DictConfig
    """The run's own, composed."""
    config: RunConfig
    """The run's own, typed."""
    baseline: RunConfig
    reference: RunConfig

    def __iter__(self) -> Iterator[RunConfig]:
        """Yield the run's own configuration, the baseline's and the reference's."""
        return iter((self.config, self.baseline, self.reference))

    def against(self, words: Sequence[str], baseline: RunConfig) -> Roles:
        """Return the same run with another baseline. It no longer stands for a row of a published table.

        Args:
            words: the overrides that make the baseline.
            baseline: the configuration that they make.
        """
        settings = self.settings.copy()
        OmegaConf.update(settings, "baseline", list(words), merge=False)
        OmegaConf.update(settings, "row", OmegaConf.structured(RowConfig), merge=False)
        return Roles(settings, typed(settings), baseline, self.reference)


def derive_roles(settings: DictConfig, config: RunConfig) -> tuple[Roles, list[Mistake]]:
    """Return a run's configurations, and the mistakes in its baseline's and its reference's.

    Args:
        settings: the run's own configuration, composed.
        config: the same, typed; it must be free of mistakes.

    Raises:
        ConfigurationError: the overrides of the baseline or the reference cannot be composed.
    """
    baseline, mistakes = derived_config("baseline", settings, config.baseline)
    reference, in_reference = derived_config("reference", settings, config.reference)
    if reference.precision.name is not Precision.fp32:
        allowed = "overrides with precision=fp32: it is the truth for accuracy"
        in_reference.append(Mistake("reference", config.reference, allowed))
    return Roles(settings, config, baseline, reference), [*mistakes, *in_reference]


def derived_config(role: str, settings: DictConfig, words: Sequence[str]) -> tuple[RunConfig, list[Mistake]]:
    """Return the configuration that overrides make of a run's own, and its mistakes.

    Args:
        role: what the configuration is for; it begins the name of the field in each mistake.
        settings: the run's own configuration.
        words: the overrides.

    Raises:
        ConfigurationError: the overrides cannot be composed.
    """
    try:
        config = typed(derive(settings, words))
    except COMPOSITION_ERRORS as error:
        found = diagnose(words, error).mistakes
        raise ConfigurationError(replace(one, field=f"{role}: {one.field}") for one in found) from error
    return config, [replace(one, field=f"{role}: {one.field}") for one in check(config)]
