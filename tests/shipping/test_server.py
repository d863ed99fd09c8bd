"""serve.py of a shipped folder: batches, refusals, and an end that loses nothing that was accepted."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import RunProgram
from tests.shipping.test_ship import ship  # noqa: F401 -- a fixture
from tests.test_model_files import BRIEF, SHAPES
from tests.worker.subjects.models import two_inputs

pytestmark = pytest.mark.services
REQUESTS, CLIENTS = int(os.environ.get("SERVER_REQUESTS", "2000")), 64
GOOD = {"ids": [[1] * 16], "mask": [[1] * 16]}
MALFORMED = (
    (b"{", "application/json", 400),
    (json.dumps({"inputs": {"ids": [[1] * 16]}}).encode(), "application/json", 400),
    (json.dumps({"inputs": GOOD | {"ids": [[1] * 15]}}).encode(), "application/json", 400),
    (json.dumps({"inputs": GOOD | {"ids": [["x"] * 16]}}).encode(), "application/json", 400),
    (json.dumps({"inputs": GOOD | {"ids": [[1] * 16] * 9, "mask": [[1] * 16] * 9}}).encode(), "application/json", 400),
    (json.dumps({"inputs": [1]}).encode(), "application/json", 400),
    (json.dumps({"inputs": GOOD | {"ids": [[1.5] * 16]}}).encode(), "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b"PK\x03\x04 no archive", "application/x-npz", 400),
    (b"hello", "text/plain", 415),
    (b"0" * (3 << 20), "application/json", 413),
)


@dataclass(frozen=True)
class Serving:
    """A server that runs."""

    port: int
    process: subprocess.Popen[str]

    def ask(self, body: bytes, kind: str = "application/json", path: str = "/predict") -> tuple[int, bytes, str | None]:
        """Return status, body and Retry-After of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST" if body else "GET", path, body or None, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("Retry-After")
        finally:
            connection.close()


@pytest.fixture
def instances() -> int:
    """The number of instances of the row."""
    return 1


@pytest.fixture
def folder(run_program: RunProgram, ship, tmp_path, instances) -> Path:  # noqa: F811 -- pytest's way to take a fixture
    """A shipped file of two inputs, with a server."""
    path = two_inputs(tmp_path / "mine.onnx")
    words = ("model=file", f"model.path={path}", SHAPES, "backend=ort", f"instances={instances}", *BRIEF)
    assert run_program(*words).code == 0
    done = ship("last/1", "--to", str(tmp_path / "build"), "--allow-noisy", "--server")
    assert done.code == 0, done.err
    assert "prometheus-client==" in (tmp_path / "build" / "requirements.txt").read_text()
    return tmp_path / "build"


@pytest.fixture
def serve(folder, tmp_path) -> Iterator[Callable[..., Serving]]:
    """Return a function that starts serve.py and waits until it is ready."""
    started = []

    def start(*words: str) -> Serving:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, str(folder / "serve.py"), "--port", str(port), "--max-mib", "2", *words]
        with (tmp_path / "server.log").open("w") as log:
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, text=True))
        found = Serving(port, started[-1])
        until = time.monotonic() + 60
        while True:
            assert started[-1].poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < until, (tmp_path / "server.log").read_text()
            try:
                if found.ask(b"", path="/readyz")[0] == 200:
                    return found
            except OSError:
                pass
            time.sleep(0.1)

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_many_clients_and_malformed_requests(serve, folder):
    """Every request gets its own answer, that of the model for this input; a malformed one a line, and no other."""
    server = serve("--queue", "4096")
    with np.load(folder / "example.npz") as example:
        inputs = {name: example[f"0:input:{name}"] for name in ("ids", "mask")}
        wanted = {name.split(":")[2]: example[name] for name in example.files if ":output:" in name}
    generator = random.Random(0)
    plan = [
        generator.choice(MALFORMED) if generator.random() < 0.05 else generator.randrange(8) for _ in range(REQUESTS)
    ]

    def ask(one) -> int:
        if isinstance(one, tuple):
            body, kind, status = one
            answer = server.ask(body, kind)
            assert answer[0] == status, answer
            assert "error" in json.loads(answer[1])
            return status
        as_npz = one % 2
        row = {name: values[one : one + 1] for name, values in inputs.items()}
        if as_npz:
            stream = io.BytesIO()
            np.savez(stream, **row)
            status, body, _ = server.ask(stream.getvalue(), "application/x-npz")
            outputs = dict(np.load(io.BytesIO(body)))
        else:
            lists = {name: values.tolist() for name, values in row.items()}
            status, body, _ = server.ask(json.dumps({"inputs": lists}).encode())
            outputs = {name: np.array(values) for name, values in json.loads(body)["outputs"].items()}
        for name, values in wanted.items():
            np.testing.assert_allclose(outputs[name][0], values[one], rtol=1e-4, atol=1e-5)
        return status

    with ThreadPoolExecutor(CLIENTS) as clients:
        counted = Counter(clients.map(ask, plan))
    assert counted[200] == sum(isinstance(one, int) for one in plan)
    metrics = server.ask(b"", path="/metrics")[1].decode()
    assert f'requests_total{{status="200"}} {float(counted[200])}' in metrics
    assert server.ask(b"", path="/healthz")[0] == 200


def test_too_many_are_refused_and_those_accepted_are_answered_before_the_end(serve):
    """Requests wait for others of their batch when SIGTERM comes."""
    server = serve("--max-wait-ms", "3000", "--queue", "2")
    body = json.dumps({"inputs": GOOD}).encode()
    whole = json.dumps({"inputs": {name: values * 8 for name, values in GOOD.items()}}).encode()
    with ThreadPoolExecutor(16) as clients:
        waiting = clients.submit(server.ask, body)
        time.sleep(0.5)
        flood = [clients.submit(server.ask, whole) for _ in range(8)]
        time.sleep(1.0)
        server.process.send_signal(signal.SIGTERM)
        counted = Counter(one.result()[0] for one in (waiting, *flood))
        refused = [one.result() for one in flood if one.result()[0] == 429]
    assert counted.keys() <= {200, 429}, counted
    assert counted[200] >= 1
    assert refused
    assert all(answer[2] == "1" for answer in refused)
    assert server.process.wait(30) in (0, -signal.SIGTERM, 143)


def test_a_request_that_the_model_refuses_fails_alone(serve):
    """An id that the model does not know has the right type and shape; those of the same batch are answered."""
    server = serve("--max-wait-ms", "1500")
    unknown = {name: [[10**6] * 16] if name == "ids" else values for name, values in GOOD.items()}
    bodies = [json.dumps({"inputs": one}).encode() for one in (GOOD, unknown, GOOD)]
    with ThreadPoolExecutor(3) as clients:
        statuses = sorted(answer[0] for answer in clients.map(server.ask, bodies))
    assert statuses == [200, 200, 500]


def test_a_model_that_cannot_load_ends_the_server(folder, tmp_path):
    """Instead of requests that wait for ever."""
    (folder / "model" / "model.onnx").write_bytes(b"damaged")
    done = subprocess.run(
        [sys.executable, str(folder / "serve.py"), "--port", "0"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "serve.py: the model cannot be used" in done.stderr


@pytest.mark.alone  # beside others it has a single core
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two instances need two cores")
@pytest.mark.parametrize("instances", [2])
def test_each_instance_has_its_own_cores(serve):
    """Requests go to both; one that dies leaves the other to answer."""
    server = serve("--max-wait-ms", "0")
    first, second = _instances(server)
    deadline = time.monotonic() + 60  # the server is ready with its first instance; the other still starts
    while os.sched_getaffinity(first) & os.sched_getaffinity(second):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    body = json.dumps({"inputs": GOOD}).encode()
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(server.ask, [body] * 400))
    assert {status for status, _, _ in answers} == {200}
    assert all(_cpu_ticks(one) > 0 for one in (first, second))
    os.kill(first, signal.SIGKILL)
    with ThreadPoolExecutor(8) as clients:
        assert {status for status, _, _ in clients.map(server.ask, [body] * 40)} == {200}


def test_a_request_that_does_not_arrive_loses_its_place(serve):
    """A client that is silent in the middle of its request is told so, and others are served."""
    server = serve("--read-s", "1", "--queue", "1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as silent:
        silent.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.3)
        assert server.ask(json.dumps({"inputs": GOOD}).encode())[0] == 429
        assert b"408" in silent.recv(4096).splitlines()[0]
    assert server.ask(json.dumps({"inputs": GOOD}).encode())[0] == 200


def test_an_instance_that_dies_is_started_again(serve):
    """Its batch is answered by the new one."""
    server = serve()
    [instance] = _instances(server)
    os.kill(instance, signal.SIGKILL)
    status, body, _ = server.ask(json.dumps({"inputs": GOOD}).encode())
    assert (status, "outputs" in json.loads(body)) == (200, True)


def _instances(server: Serving) -> list[int]:
    """Return the processes with the model, in the order of their start."""
    every = sorted(int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal())
    return [pid for pid in every if _is_instance(pid, server.process.pid)]


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _is_instance(pid: int, parent: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return f"PPid:\t{parent}\n" in status and b"spawn_main" in command
