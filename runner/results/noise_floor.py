"""The noise floor δ of this machine, from A/A runs: a configuration measured repeatedly against itself.

``runner aa=10`` measures it. The cache stores the result per machine, and every later verdict under the same
conditions (network, batch, `measure`) uses it.
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

from runner.analysis.statistics import student_t
from runner.config.schema import RunConfig
from runner.machine.facts import Machine
from runner.results.artifacts import cache_folder
from runner.results.files import write_json

MIN_FLOOR = 0.01
"""Lower bound of δ: two processes of the same program differ by about 1 %."""


@dataclass(frozen=True)
class Calibration:
    """The outcome of the A/A runs of one configuration."""

    machine: str
    model: str
    measure: str
    backend: str
    precision: str
    date: str
    """Time of the calibration in ISO format, UTC."""
    conditions: str
    """Hash of everything that a noise floor depends on; see :func:`conditions`."""
    speedups: list[float]
    noise_floor: float

    @property
    def mean_error(self) -> float:
        """Mean of |speedup − 1|."""
        return sum(abs(speedup - 1) for speedup in self.speedups) / len(self.speedups)


def floor(speedups: Sequence[float]) -> float:
    """Return δ: with 95 % confidence the speedup of another A/A run is within 1 ± δ.

    The true speedup is known to be 1, so deviations are taken from 1, and each run of two fresh processes adds a degree
    of freedom: δ = exp(t(0.975, n) · √(Σ log² / n)) − 1, at least `MIN_FLOOR`.

    Args:
        speedups: of n A/A runs; at least one.
    """
    deviation = math.sqrt(sum(math.log(speedup) ** 2 for speedup in speedups) / len(speedups))
    return max(MIN_FLOOR, math.expm1(student_t(len(speedups)) * deviation))


def calibrate(config: RunConfig, machine: Machine, speedups: Sequence[float]) -> Calibration:
    """Store the outcome of A/A runs of a configuration, replacing that of earlier runs.

    Args:
        config: the configuration that was measured against itself.
        machine: the machine that measured.
        speedups: of the A/A runs.

    Raises:
        OSError: the cache is not writable, or the disk is full.
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
            warnings.warn(f"{file} is not a calibration and is skipped: {error}; delete the file", stacklevel=2)
    return found


def noise_floor(config: RunConfig, machine: Machine) -> float:
    """Return the maximum of `measure.noise_floor` and every δ that was calibrated here under a run's conditions.

    A calibration never lowers the noise floor: with a fixed layout both processes of an A/A pair have the same layout,
    so A/A does not see the effect of the layouts of two configurations, for which `measure.noise_floor` allows.
    """
    found = calibrations(cache_folder(config), machine)
    wanted = conditions(config)
    return max([config.measure.noise_floor, *(one.noise_floor for one in found if one.conditions == wanted)])


def conditions(config: RunConfig) -> str:
    """Return a hash of what a noise floor depends on.

    That is the network, its inputs, how long it is measured, allocator, threading and huge pages.
    """
    fed = [config.batch_size, config.instances, str(config.scenario), str(config.scope), config.pipeline_batch_size]
    process = [config.allocator.name, config.threading.name, config.threading.threads, config.hugepages.name]
    what = json.dumps([asdict(config.model), asdict(config.measure), fed, process], sort_keys=True, default=str)
    return hashlib.sha256(what.encode()).hexdigest()[:8]


def _folder(cache: Path, machine: Machine) -> Path:
    """Return the folder of a machine's calibrations, one per processor, set of cores, quota and kernel."""
    what = json.dumps([machine.cpu, machine.isa, machine.cores, machine.quota_cores, machine.kernel])
    return cache / "noise" / hashlib.sha256(what.encode()).hexdigest()[:12]
