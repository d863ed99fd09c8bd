"""Tracking servers that are down, silent, slow or broken, and recording the sweep later with sync."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.commands import sync as command
from runner.machine.lock import LOCK_VARIABLE, measurement_lock
from runner.results.status import Status
from runner.tracking.client import CancellableClient, TimeBudget
from tests.conftest import RunProgram
from tests.faults.conftest import faults
from tests.tracking.test_tracking import TRACKED, newest, runs_of

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
CASES = faults("batch_s: 0.001", "fault: raise", "batch_s: 0.002")
STATUSES = [Status.ok, Status.failed, Status.ok]


def serve(status: int, delay_s: float) -> http.server.ThreadingHTTPServer:
    """Return a server that answers every request with the same status after a delay."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(delay_s)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 -- names required by the library

        def log_message(self, *_):
            return

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return found


@pytest.fixture(autouse=True)
def own_lock(monkeypatch, environment) -> None:
    """Use the lock of the test environment in this process too."""
    monkeypatch.setenv(LOCK_VARIABLE, environment[LOCK_VARIABLE])


@pytest.fixture(params=["down", "silent", "slow", "answering 500"])
def broken(request) -> Iterator[str]:
    """The address of a server that cannot record anything."""
    if request.param == "down":
        yield "http://127.0.0.1:9"
    elif request.param == "silent":
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(50)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    else:
        found = serve(500 if request.param == "answering 500" else 200, 3.0 if request.param == "slow" else 0.0)
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()
        found.server_close()


def test_a_broken_server_costs_no_run(run_program: RunProgram, broken, tmp_path, capsys):
    """It is reported once; the results are on disk, and sync records each once in another store."""
    done = run_program(*TRACKED, CASES, f"tracking.uri={broken}")
    assert [result.status for result in done.results()] == STATUSES
    assert done.out.count("tracking:") == 1, done.out
    assert "Traceback" not in done.out + done.err
    uri = f"sqlite:///{tmp_path}/later.db"
    sync = ["--uri", uri, "--output-dir", str(done.output_dir)]
    sweep = newest(done).name
    for line in (f"{sweep}: 3 recorded, 0 already present", f"{sweep}: 0 recorded, 3 already present"):
        assert command.main(sync) == 0
        assert capsys.readouterr().out.strip() == line
    _, [parent], children = runs_of(uri, sweep)
    assert parent.info.status == "FINISHED"
    assert [run.data.tags["status"] for run in children] == [str(status) for status in STATUSES]
    for run, result in zip(children, done.results(), strict=True):
        assert run.data.tags["fingerprint"] == result.fingerprint
        assert run.info.end_time == int(result.ended_at * 1000)
        if result.shown:
            assert run.data.metrics["throughput"] == result.shown.throughput.value


def test_sync_over_http_adds_what_is_missing(run_program: RunProgram, server, capsys):
    """To a real server that has the sweep but lost one row."""
    done = run_program(*TRACKED, CASES, f"tracking.uri={server}")
    client, _, children = runs_of(server, newest(done).name)
    sync = ["--uri", server, "--output-dir", str(done.output_dir), "--sweep", newest(done).name]
    assert command.main(sync) == 0
    assert "0 recorded, 3 already present" in capsys.readouterr().out
    client.delete_run(children[1].info.run_id)
    assert command.main(sync) == 0
    assert "1 recorded, 2 already present" in capsys.readouterr().out
    assert len(runs_of(server, newest(done).name)[2]) == 3


def test_sync_reports_failures(tmp_path, capsys, run_program: RunProgram):
    """A missing sweep, a busy machine and a server that is down each give one line and exit code 2."""
    assert command.main(["--output-dir", str(tmp_path)]) == 2
    assert "holds no sweep" in capsys.readouterr().err
    done = run_program(*TRACKED, "tracking=none")
    options = ["--output-dir", str(done.output_dir)]
    assert command.main([*options, "--sweep", "../elsewhere"]) == 2
    assert "sweep: received '../elsewhere'; allowed: last, or" in capsys.readouterr().err
    with measurement_lock(wait=False, report=pytest.fail):
        assert command.main(options) == 2
    assert capsys.readouterr().err.endswith("concurrent measurements disturb each other: add --wait\n")
    assert command.main([*options, "--uri", "http://someone:hunter2hunter2@127.0.0.1:9"]) == 2
    message = capsys.readouterr().err
    assert "127.0.0.1:9" in message
    assert "hunter2" not in message
    assert len(message.splitlines()) == 1


def test_a_slow_server_is_waited_for_and_a_silent_one_is_given_up():
    """Five answers of 0.5 s each exceed the limit together and not alone; one of 30 s exceeds it."""

    class Slow:
        def answer(self, seconds):
            time.sleep(seconds)
            return "answered"

    budget = TimeBudget("http://somewhere", seconds=2.0)
    client = CancellableClient(Slow(), budget)
    assert budget.spend(lambda: [client.answer(0.5) for _ in range(5)]) == ["answered"] * 5
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        budget.spend(lambda: client.answer(30))
    assert time.monotonic() - started < 15  # half of the call's duration
    with pytest.raises(TimeoutError):
        client.answer(0)
    with pytest.raises(ZeroDivisionError):
        TimeBudget("http://somewhere").spend(lambda: 1 / 0)


def test_a_local_database_has_no_time_limit():
    """Its creation can take long on a slow disk."""
    assert TimeBudget("sqlite:///x.db", seconds=0.0).spend(lambda: 5) == 5


def test_rows_of_a_store_follow_the_plan(run_program: RunProgram, tmp_path: Path):
    """A run that is measured again supersedes its earlier row, which is kept."""
    done = run_program(*TRACKED, CASES)
    uri = f"sqlite:///{done.output_dir / 'mlflow.db'}"
    sweep = newest(done).name
    again = run_program(f"resume={sweep}")
    assert again.code == 1
    assert "2 of 3 runs were already measured" in again.out
    children = runs_of(uri, sweep)[2]
    assert [run.data.tags["status"] for run in children] == ["ok", "failed", "failed", "ok"]
    assert ["superseded_by" in run.data.tags for run in children].count(True) == 1
    assert command.main(["--uri", uri, "--output-dir", str(done.output_dir)]) == 0
    assert len(runs_of(uri, sweep)[2]) == 4
