"""What ends a command before anything is measured: mistakes in its configuration, or a reason not to launch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """One mistake in a configuration, reported in one line."""

    field: str
    received: object
    allowed: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return field, value received, values allowed and remedy in one line."""
        line = f"{self.field}: received {self.received!r}; allowed: {self.allowed}"
        return f"{line}. {self.remedy}" if self.remedy else line


class NothingLaunched(Exception):
    """A sweep could not start; the message is one line."""


class ConfigurationError(Exception):
    """One or more mistakes in what the user requested; nothing has been launched."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        """Keep the mistakes, without repetitions, in the order given."""
        self.mistakes = list({str(mistake): mistake for mistake in mistakes}.values())
        super().__init__("\n".join(map(str, self.mistakes)))
