"""The processes of one configuration: one or several instances on disjoint cores, driven as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.processes.launch import WorkerLaunch
from runner.processes.worker import KILL_TIMEOUT_S, OnPhase, Reply, Worker
from runner.protocol import Load, Loaded, Message
from runner.results.status import RunFailed, Status


class Instances:
    """One worker per launch."""

    def __init__(self, launches: Sequence[WorkerLaunch], log: Path) -> None:
        """Start every worker.

        Args:
            launches: one per instance.
            log: path of the first instance's log; the others add their number before the suffix.

        Raises:
            RunFailed: a worker could not be started; those already started are stopped.
        """
        self.launches = list(launches)
        self._workers: list[Worker] = []
        self._begun = 0
        """Number of instances that were requested to load at once."""
        try:
            for number, launch in enumerate(launches):
                self._workers.append(Worker(launch, log if number == 0 else log.with_suffix(f".{number}{log.suffix}")))
        except BaseException:
            self.stop()
            raise

    @property
    def first(self) -> Worker:
        """The instance that evaluates the evaluation set; all instances have the same weights."""
        return self._workers[0]

    def pids(self) -> list[int]:
        """Return the process ids of the measured processes."""
        return [worker.pid for worker in self._workers]

    def begin_load(self, *, one_first: bool) -> None:
        """Request the instances to load the job, without waiting for it.

        Args:
            one_first: the first loads alone, so that missing artifacts are made once.

        Raises:
            RunFailed: a worker has died.
        """
        self._begun = 1 if one_first else len(self._workers)
        for worker in self._workers[: self._begun]:
            worker.send(Load(worker.launch.job))

    def finish_load(self, *, timeout_s: float, on_phase: OnPhase) -> list[Loaded]:
        """Wait until every instance has loaded the job.

        Raises:
            RunFailed: see :meth:`runner.processes.worker.Worker.request`.
        """
        loaded = [self.first.receive(Loaded, timeout_s=timeout_s, on_phase=on_phase)]
        for worker in self._workers[self._begun :]:
            worker.send(Load(worker.launch.job))
        return loaded + [worker.receive(Loaded, timeout_s=timeout_s) for worker in self._workers[1:]]

    def request(self, message: Message, reply: type[Reply], *, timeout_s: float) -> list[Reply]:
        """Send a request to all instances at once, and block until all replies have arrived.

        Raises:
            RunFailed: see :meth:`runner.processes.worker.Worker.request`.
        """
        for worker in self._workers:
            worker.send(message)
        return [worker.receive(reply, timeout_s=timeout_s) for worker in self._workers]

    def freeze(self) -> None:
        """Freeze all instances."""
        for worker in self._workers:
            worker.freeze()

    def thaw(self) -> None:
        """Thaw all instances."""
        for worker in self._workers:
            worker.thaw()

    def alive(self) -> bool:
        """Return whether every instance still exists."""
        return all(worker.alive() for worker in self._workers)

    def rss_peak_mib(self) -> float | None:
        """Return the sum of the instances' peak resident memory, in MiB; None if one has ended."""
        peaks = [worker.rss_peak_mib() for worker in self._workers]
        return None if None in peaks else sum(peak for peak in peaks if peak is not None)

    def stop(self) -> None:
        """Stop every instance. Idempotent.

        Raises:
            RunFailed: a process survives SIGKILL.
        """
        for worker in self._workers:
            worker.stop()
        if survivors := [str(worker.pid) for worker in self._workers if worker.survives]:
            reason = f"process {', '.join(survivors)} did not end within {KILL_TIMEOUT_S:.0f} s after SIGKILL"
            raise RunFailed(Status.failed, f"{reason}: it waits for a device or a file system")
