"""Errors that end a command before anything is measured: configuration mistakes, or a reason not to launch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """One configuration mistake, reported in one line."""

    field: str
    """Field or file that holds the mistake, for example ``measure.rounds``."""
    received: object
    allowed: str
    """Values that the field accepts, in words."""
    remedy: str = ""
    """What the user can change; empty if `allowed` is enough."""

    def __str__(self) -> str:
        """Return field, received value, allowed values and remedy in one line."""
        line = f"{self.field}: received {self.received!r}; allowed: {self.allowed}"
        return f"{line}. {self.remedy}" if self.remedy else line


class NothingLaunched(Exception):
    """A command could not start; its one-line message is the reason."""


class ConfigurationError(Exception):
    """One or more mistakes in the user's configuration; nothing has been launched."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        """Store the mistakes in the order given, without duplicates."""
        self.mistakes = list({str(mistake): mistake for mistake in mistakes}.values())
        super().__init__("\n".join(map(str, self.mistakes)))
