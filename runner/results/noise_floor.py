"""The noise floor δ of this machine, from A/A runs: a configuration measured against itself, over and over.

``python -m runner aa=10`` measures; the result is stored in the cache, by machine, and every later verdict under
the same conditions (network, batch, `measure`) uses it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runner.config.schema import RunConfig
from runner.machine.facts import Machine
from runner.results.artifacts import cache_folder
from runner.results.files import write_json

MIN_FLOOR = 0.01
"""δ is never under 1 %: two processes of one program differ by about as much."""


@dataclass(frozen=True)
class Calibration:
    """What A/A runs of one configuration said."""

    machine: str
    model: str
    measure: str
    backend: str
    precision: str
    date: str
    """Of the last run, UTC."""
    conditions: str
    """A hash over everything that a noise floor depends on, see :func:`conditions`."""
    speedups: list[float]
    noise_floor: float

    @property
    def mean_error(self) -> float:
        """Mean of |speedup − 1|."""
        return sum(abs(speedup - 1) for speedup in self.speedups) / len(self.speedups)


def floor(speedups: Sequence[float]) -> float:
    """Return δ: with 95 % confidence another A/A run ends within a factor 1 ± δ of 1.

    The true speedup is known to be 1, so the deviations are taken from it and every run, of two fresh processes, gives
    a degree of freedom:
    δ = t(0.975, n) · √(Σ log² / n), never under `MIN_FLOOR`.
    """
    from scipy.stats import t  # here, not above: importing scipy.stats takes most of a second

    deviation = math.sqrt(sum(math.log(speedup) ** 2 for speedup in speedups) / len(speedups))
    return max(MIN_FLOOR, math.expm1(float(t.ppf(0.975, len(speedups))) * deviation))


def calibrate(config: RunConfig, machine: Machine, speedups: Sequence[float]) -> Calibration:
    """Keep what A/A runs of a configuration said, in place of what earlier ones did.

    Raises:
        OSError: the cache cannot be written.
    """
    found = Calibration(
        machine=machine.name,
        model=config.model.name,
        measure=config.measure.name,
        backend=config.backend.name,
        precision=str(config.precision.name),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        conditions=conditions(config),
        speedups=list(speedups),
        noise_floor=floor(speedups),
    )
    folder = _folder(cache_folder(config), machine)
    folder.mkdir(parents=True, exist_ok=True)
    name = "-".join((found.model, found.measure, found.backend, found.precision, found.conditions))
    write_json(folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.json", asdict(found))
    return found


def calibrations(cache: Path, machine: Machine) -> list[Calibration]:
    """Load this machine's calibrations; unreadable files are reported and skipped."""
    found = []
    for file in sorted(_folder(cache, machine).glob("*.json")):
        try:
            found.append(Calibration(**json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            warnings.warn(f"{file} is no calibration, remove it: {error}", stacklevel=2)
    return found


def noise_floor(config: RunConfig, machine: Machine) -> float:
    """Return the largest of `measure.noise_floor` and of every δ that was calibrated here under a run's conditions.

    A calibration only raises it: if both processes of a pair have the same layout, A/A cannot see how the layouts of
    two configurations differ, and `measure.noise_floor` allows for that.
    """
    found = calibrations(cache_folder(config), machine)
    wanted = conditions(config)
    return max([config.measure.noise_floor, *(one.noise_floor for one in found if one.conditions == wanted)])


def conditions(config: RunConfig) -> str:
    """Return a hash over what a noise floor depends on: the network, how it is fed, and how long it is measured."""
    fed = [config.batch_size, config.instances, str(config.scenario), str(config.scope), config.pipeline_batch_size]
    what = json.dumps([asdict(config.model), asdict(config.measure), fed], sort_keys=True, default=str)
    return hashlib.sha256(what.encode()).hexdigest()[:8]


def _folder(cache: Path, machine: Machine) -> Path:
    """Return the folder of a machine's calibrations: another processor, kernel or number of cores has its own."""
    what = json.dumps([machine.cpu, machine.isa, machine.cores, machine.quota_cores, machine.kernel])
    return cache / "noise" / hashlib.sha256(what.encode()).hexdigest()[:12]
