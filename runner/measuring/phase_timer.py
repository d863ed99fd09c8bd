"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class PhaseTimer:
    """The seconds of a run by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def book(self, phase: str) -> Iterator[None]:
        """Add the time of a block to a phase."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add(phase, time.monotonic() - begin)
