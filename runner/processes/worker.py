"""The measured processes: start, request, freeze, thaw, stop. Only this module and `process_tree` send signals.

A worker runs in its own process group. It connects back over a Unix socket in a private folder, so that the output of
its libraries goes to its log file and never into the channel. The host blocks in ``poll`` while a worker works.
"""

from __future__ import annotations

import itertools
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from runner.processes import process_tree
from runner.processes.launch import WorkerLaunch
from runner.processes.oom import read_oom_kills
from runner.protocol import (
    CHANNEL_VARIABLE,
    Failure,
    Hello,
    Loaded,
    Message,
    Phase,
    ProtocolError,
    Stop,
    decode,
    encode,
)
from runner.results.status import RunFailed, Status

DIAL_TIMEOUT_S = 60.0
"""A worker connects before it imports anything heavy; only a slow command prefix takes nearly this long."""
KILL_TIMEOUT_S = 10.0
"""Time to wait after SIGKILL: a process in uninterruptible sleep, as on a dead network file system, does not end."""
STOP_GRACE_S = 3.0
"""Time between the request to stop, SIGTERM and SIGKILL. A worker has no data to save and may be killed."""
LOG_TAIL_LINES = 20
CHUNK = 1 << 16
MAX_LINE = 1 << 26
"""Maximum length of a line in bytes: ten thousand times the longest message, a slice's time stamps."""

Reply = TypeVar("Reply", bound=Message)
OnPhase = Callable[[str], None]

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)


class Worker:
    """One measured process."""

    def __init__(self, launch: WorkerLaunch, log: Path) -> None:
        """Start the process and wait until it has connected.

        Args:
            launch: command line, environment and job.
            log: receives the process's standard output and standard error.

        Raises:
            RunFailed: the process could not be started, or ended before it connected.
        """
        self.launch = launch
        self.log = log
        self.frozen = False
        self.survives = False
        """Whether the process still existed KILL_TIMEOUT_S after SIGKILL."""
        self.pid = 0
        """The measuring process; with a command prefix it is not the started one."""
        self._received = b""
        # Of fixed length: the size of the environment shifts the heap.
        self._tag = f"{process_tree.PROCESS_TAG}.{next(_numbers):06d}"
        self._oom_kills = read_oom_kills()
        # The path of a Unix socket is limited to 107 bytes, so the socket cannot be in the run's folder.
        folder = Path(tempfile.mkdtemp(prefix="runner-"))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(str(folder / "channel"))
                listener.listen(1)
                self._process = self._spawn(folder / "channel")
                self._groups = {self._process.pid}
                try:
                    self._channel = self._accept(listener)
                except BaseException:
                    self._kill()
                    raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            self.pid = self.receive(Hello, timeout_s=DIAL_TIMEOUT_S).pid
            try:
                self._groups.add(os.getpgid(self.pid))  # torch's launcher starts its child in another session
            except ProcessLookupError:
                raise self._died() from None
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        """Return the worker; leaving the block stops it."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Stop the worker."""
        self.stop()

    def request(
        self, message: Message, reply: type[Reply], *, timeout_s: float, on_phase: OnPhase | None = None
    ) -> Reply:
        """Send a request and block until its reply arrives.

        Args:
            message: the request.
            reply: class of the expected reply.
            timeout_s: limit in seconds, after which the worker is killed.
            on_phase: called with the name of each phase that the worker starts.

        Raises:
            RunFailed: the worker reports a failure, dies, exceeds the limit or breaks the protocol.
        """
        self.send(message)
        return self.receive(reply, timeout_s=timeout_s, on_phase=on_phase)

    def send(self, message: Message) -> None:
        """Send a request without waiting for its reply.

        Raises:
            RunFailed: the worker has died.
        """
        try:
            self._channel.sendall(encode(message))
        except OSError:  # it died between two requests
            raise self._died() from None

    def freeze(self) -> None:
        """Stop every process of the group (SIGSTOP): it uses no CPU time until it is thawed."""
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """Continue a frozen group (SIGCONT)."""
        self._oom_kills = read_oom_kills()  # a kill during the freeze was another process's
        self._signal(signal.SIGCONT)
        self.frozen = False

    def alive(self) -> bool:
        """Return whether the started process still exists."""
        return self._process.poll() is None

    def rss_peak_mib(self) -> float | None:
        """Return the peak resident memory of the process so far, in MiB; None if it has ended."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:  # the process has ended
            return None
        peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
        return None if peak is None else int(peak) / 1024

    def log_tail(self) -> str:
        """Return the last lines of the process's log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"(the log cannot be read: {error})"
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])

    def stop(self) -> None:
        """End the whole group, by request first and by signals if needed, and reap it. Idempotent."""
        try:
            if self.alive():
                self._request_end()
        finally:
            self._kill()
            self._channel.close()

    def _request_end(self) -> None:
        if self.frozen:
            self.thaw()
        try:
            self._channel.sendall(encode(Stop()))
            self._process.wait(STOP_GRACE_S)
        except (OSError, subprocess.TimeoutExpired):  # the worker does not respond
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                with self.log.open("a", encoding="utf-8") as log:
                    log.write("runner: this process ignored SIGTERM and was killed\n")

    def _spawn(self, channel: Path) -> subprocess.Popen[bytes]:
        environment = self.launch.env | {CHANNEL_VARIABLE: str(channel), process_tree.PROCESS_TAG_VARIABLE: self._tag}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                process = subprocess.Popen(
                    self.launch.argv,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.log.parent,
                    start_new_session=True,
                )
                process_tree.AWAITED.add(process.pid)
                logger.debug("started %d: %s", process.pid, self.launch.argv)
                return process
            except OSError as error:
                raise RunFailed(
                    Status.unavailable, f"{self.launch.argv[0]} cannot be started: {error.strerror}"
                ) from error

    def _accept(self, listener: socket.socket) -> socket.socket:
        """Wait until the worker connects or ends, and return the connection."""
        ended = os.pidfd_open(self._process.pid)
        try:
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            poll.register(ended, select.POLLIN)
            ready = dict(poll.poll(DIAL_TIMEOUT_S * 1000))
        finally:
            os.close(ended)
        if listener.fileno() in ready:
            return listener.accept()[0]
        if ready:
            raise self._how_it_ended()
        raise RunFailed(
            Status.timeout, f"the worker did not connect within {DIAL_TIMEOUT_S:.0f} s", log_tail=self.log_tail()
        )

    def receive(self, reply: type[Reply], *, timeout_s: float, on_phase: OnPhase | None = None) -> Reply:
        """Block until the reply to the last request arrives; see :meth:`request`."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._next_message(deadline)
            if message is None:
                tail = self.log_tail()
                self._kill()
                setting = "measure.prepare_timeout_s" if reply is Loaded else "measure.request_timeout_s"
                raise RunFailed(
                    Status.timeout,
                    f"no answer within {timeout_s:.0f} s (waiting for {reply.__name__}): raise {setting}",
                    log_tail=tail,
                )
            if isinstance(message, Phase):
                if on_phase is not None:
                    on_phase(message.name)
            elif isinstance(message, Failure):
                status = Status(message.status)
                raise RunFailed(
                    status,
                    self._with_oom(message.reason) if status is Status.crashed else message.reason,
                    exception=message.exception,
                    log_tail=message.traceback or self.log_tail(),
                )
            elif isinstance(message, reply):
                return message
            else:
                raise self._broken(f"answered {type(message).__name__} instead of {reply.__name__}")

    def _next_message(self, deadline: float) -> Message | None:
        """Return the next message; None if the deadline has passed."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return None
            try:
                chunk = self._channel.recv(CHUNK)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise self._died()
            self._received += chunk
            if len(self._received) > MAX_LINE:
                raise self._broken(f"sent {len(self._received)} bytes without an end of line, the limit is {MAX_LINE}")
        line, self._received = self._received.split(b"\n", 1)
        try:
            return decode(line)
        except ProtocolError as error:
            raise self._broken(str(error)) from error

    def _broken(self, what: str) -> RunFailed:
        tail = self.log_tail()
        self._kill()
        return RunFailed(Status.failed, f"the worker broke the protocol: {what}", log_tail=tail)

    def _died(self) -> RunFailed:
        """Return why the channel closed; kill a worker that closed it and still runs."""
        try:
            self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            return self._broken("closed its channel")
        return self._how_it_ended()

    def _how_it_ended(self) -> RunFailed:
        code = self._process.wait()
        self._kill()  # the rest of the group
        tail = self.log_tail()
        if code < 0:
            reason = f"died by {signal.Signals(-code).name}: {_last_line(tail)}"
            return RunFailed(
                Status.crashed, self._with_oom(reason) if code == -signal.SIGKILL else reason, log_tail=tail
            )
        # The exit code of a launcher does not show how its worker died.
        reason = self._with_oom(f"ended with exit code {code}: {_last_line(tail)}")
        return RunFailed(Status.failed, reason, log_tail=tail)

    def _with_oom(self, reason: str) -> str:
        """Return a reason, extended by out-of-memory kills since the last request."""
        return ": ".join(part for part in (reason, read_oom_kills().since(self._oom_kills)) if part)

    def _kill(self) -> None:
        """Kill the group and the processes that have left it, and wait at most KILL_TIMEOUT_S for its end."""
        self._signal(signal.SIGKILL)
        try:
            self._process.wait(KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.survives = True
            logger.error("process %d does not end %.0f s after SIGKILL", self._process.pid, KILL_TIMEOUT_S)
        self._groups.clear()  # the kernel may reuse their ids
        process_tree.AWAITED.discard(self._process.pid)
        if left := process_tree.kill_tagged(self._tag):  # processes that left the group
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"runner: processes {left} survive SIGKILL; they are killed again when the sweep ends\n")

    def _signal(self, number: signal.Signals) -> None:
        for group in self._groups:
            try:
                os.killpg(group, number)
            except ProcessLookupError:  # the whole group has ended
                continue


def _last_line(text: str) -> str:
    """Return the last non-empty line, where most libraries print the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
