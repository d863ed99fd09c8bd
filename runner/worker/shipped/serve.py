"""Serve the model of this folder over HTTP: python serve.py --help.

POST /predict takes ``{"inputs": {NAME: nested lists}}`` as JSON, or an .npz (application/x-npz) with an array for each
input, a sample in each row, and answers in the same form: ``{"outputs": {NAME: …}}``, or an .npz. GET /healthz, /readyz
and /metrics (Prometheus).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import signal
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # python -I leaves it out

from proof import examples  # type: ignore[import-not-found]  # noqa: E402 -- beside this file
from run import run_padded  # type: ignore[import-not-found]  # noqa: E402 -- beside this file

NPZ, JSON = "application/x-npz", "application/json"
FACTS: dict[str, Any] = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
REQUESTS = Counter("requests", "Answered requests, by HTTP status.", ["status"])
SECONDS = Histogram("request_seconds", "Time from the request to its answer.")
SAMPLES = Histogram("batch_samples", "Samples of a batch.", buckets=[1, 2, 4, 8, 16, 32, 64, 128])
WAITING = Gauge("waiting_requests", "Requests that wait for a batch.")


class Refused(Exception):
    """A request cannot be answered: the HTTP status and one line."""

    def __init__(self, status: int, text: str) -> None:
        """Store both."""
        super().__init__(text)
        self.status = status


@dataclass
class Waiting:
    """A request that waits for its outputs."""

    inputs: dict[str, Any]
    count: int
    outputs: asyncio.Future[dict[str, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of a sample: only equal ones share a batch."""
        return {name: values.shape[1:] for name, values in self.inputs.items()}


def work(pipe: Any, cores: list[int]) -> None:
    """Be an instance: load the model, and answer batches until the pipe closes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the server ends it, after the last answer
    if cores:
        os.sched_setaffinity(0, cores)
    from runtime import Model  # type: ignore[import-not-found]  # beside this file

    model = Model(HERE / "model", FACTS["runtime"])
    model.run(examples()[0]["input"])
    pipe.send("ready")
    with suppress(EOFError):
        while True:
            batch = pipe.recv()
            try:
                pipe.send(run_padded(model, batch, FACTS["batch_size"]))
            except Exception as error:  # the client hears of it, and the next batch is served
                pipe.send(f"{type(error).__name__}: {error}")


class Instance:
    """A process with a copy of the model, on cores of its own."""

    def __init__(self, cores: list[int]) -> None:
        """Start the process."""
        self._cores = cores
        self._stopping = False
        self._thread = ThreadPoolExecutor(1)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=work, args=(other, self._cores), daemon=True)
        self._process.start()
        other.close()

    async def run(self, batch: dict[str, Any] | None) -> Any:
        """Return the outputs of a batch, or what went wrong; None waits until the model is loaded.

        An instance that died is started again, and gets the batch once more.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch)

    def _run(self, batch: dict[str, Any] | None) -> Any:
        try:
            return self._ask(batch)
        except (EOFError, OSError):
            if self._stopping:
                raise
            self._start()
            ready = self._ask(None)
            return ready if batch is None else self._ask(batch)

    def _ask(self, batch: dict[str, Any] | None) -> Any:
        if batch is not None:
            self._pipe.send(batch)
        return self._pipe.recv()

    def stop(self) -> None:
        """End the process."""
        self._stopping = True
        self._pipe.close()
        self._process.join(5)
        self._process.kill()


class Server:
    """Batches requests, and hands the batches to instances."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Store the options; :meth:`lifespan` starts the instances."""
        self._options = options
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(options.queue)
        self._arriving = 0
        """Requests that are being read; each has a place in the queue."""
        self.ready = False

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Run the instances as long as the server runs; uvicorn ends it after the last answer."""
        WAITING.set_function(self._queue.qsize)
        instances = [Instance(cores) for cores in FACTS["cores"]]
        tasks = [asyncio.create_task(self._feed(one)) for one in instances]
        for task in tasks:
            task.add_done_callback(_end_if_failed)
        yield
        for task in tasks:
            task.cancel()
        for one in instances:
            one.stop()

    async def _feed(self, instance: Instance) -> None:
        """Give an instance one batch after another."""
        await instance.run(None)
        self.ready = True
        left: Waiting | None = None
        while True:
            batch = [left or await self._queue.get()]
            left = await self._fill(batch)
            SAMPLES.observe(sum(one.count for one in batch))
            found = await self._infer(instance, batch)
            if isinstance(found, str) and len(batch) > 1:  # the fault of one of them: each is asked alone
                for one in batch:
                    self._answer([one], await self._infer(instance, [one]))
            else:
                self._answer(batch, found)

    @staticmethod
    async def _infer(instance: Instance, batch: list[Waiting]) -> Any:
        """Return the outputs of a batch, or what went wrong."""
        try:
            return await instance.run(
                {name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs}
            )
        except Exception as error:  # the process died twice on this batch
            return f"the model's process died: {error!r}"

    async def _fill(self, batch: list[Waiting]) -> Waiting | None:
        """Add requests until the batch is full or the first has waited long enough; return one that does not fit."""
        room = FACTS["batch_size"] - batch[0].count
        until = time.monotonic() + self._options.max_wait_ms / 1000
        while room > 0:
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    other = await self._queue.get()
            except TimeoutError:
                return None
            if other.count > room or other.shapes != batch[0].shapes:
                return other
            batch.append(other)
            room -= other.count
        return None

    @staticmethod
    def _answer(batch: list[Waiting], found: Any) -> None:
        start = 0
        for one in batch:
            if one.outputs.done():  # its client has gone
                pass
            elif isinstance(found, str):
                one.outputs.set_exception(Refused(500, found))
            else:
                one.outputs.set_result({name: values[start : start + one.count] for name, values in found.items()})
            start += one.count

    async def predict(self, request: Request) -> Response:
        """Answer a request."""
        began = time.monotonic()
        try:
            if not self.ready:
                raise Refused(503, "the model is being loaded")
            kind = request.headers.get("content-type", "").partition(";")[0].strip()
            waiting = await self._accept(kind, request)
            response = Response(*written(kind, await waiting.outputs))
        except ClientDisconnect:
            response = Response(status_code=400)
        except Refused as error:
            headers = {"Retry-After": "1"} if error.status in (429, 503) else None
            response = Response(json.dumps({"error": str(error)}), error.status, headers, JSON)
        REQUESTS.labels(response.status_code).inc()
        SECONDS.observe(time.monotonic() - began)
        return response

    async def _accept(self, kind: str, request: Request) -> Waiting:
        """Read a request, and put it into the queue, in which it has a place from the first byte on."""
        if self._queue.qsize() + self._arriving >= self._options.queue:
            raise Refused(429, f"{self._options.queue} requests are waiting: try again later")
        self._arriving += 1
        try:
            async with asyncio.timeout(self._options.read_s):
                body = await self._body(request)
            inputs = await asyncio.to_thread(read, kind, body)
            waiting = Waiting(inputs, check(inputs))
            self._queue.put_nowait(waiting)
        except TimeoutError:
            raise Refused(408, f"the request did not arrive within {self._options.read_s:g} s") from None
        finally:
            self._arriving -= 1
        return waiting

    async def _body(self, request: Request) -> bytes:
        limit, body = self._options.max_mib * 2**20, bytearray()
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise Refused(413, f"the request has more than {self._options.max_mib} MiB")
        return bytes(body)


def read(kind: str, body: bytes) -> dict[str, Any]:
    """Return the arrays of a request's body."""
    try:
        if kind == NPZ:
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                    raise Refused(413, "the arrays are compressed: send them as np.savez writes them")
            with np.load(io.BytesIO(body), allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        if kind == JSON:
            return {name: np.array(values) for name, values in json.loads(body)["inputs"].items()}
    except Refused:
        raise
    except Exception as error:  # zipfile, NumPy and json each have many
        raise Refused(400, f"the body cannot be read: {type(error).__name__}: {str(error)[:200]}") from error
    raise Refused(415, f"received content-type {kind!r}; allowed: {JSON} or {NPZ}")


def check(inputs: dict[str, Any]) -> int:
    """Check names, types and shapes of a request, bring the types to the model's, and return its samples."""
    wanted = {one["name"]: one for one in FACTS["inputs"]}
    if inputs.keys() != wanted.keys():
        raise Refused(400, f"received the inputs {sorted(inputs)}; allowed: {sorted(wanted)}")
    for name, values in inputs.items():
        shape = wanted[name]["shape"]
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            raise Refused(400, f"{name} is no array of numbers")
        fits = values.ndim == len(shape) and all(
            isinstance(one, str) or one == other for one, other in zip(shape[1:], values.shape[1:], strict=True)
        )
        if not fits or not values.size:
            raise Refused(400, f"{name} has the shape {list(values.shape)}; allowed: {shape}")
        inputs[name] = _as_type(name, values, np.dtype(wanted[name]["dtype"]))
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1 or max(counts) > FACTS["batch_size"]:
        raise Refused(400, f"received {sorted(counts)} samples; allowed: one number, at most {FACTS['batch_size']}")
    return counts.pop()


def _as_type(name: str, values: Any, dtype: Any) -> Any:
    """Return an array in the model's type, if no value changes but by rounding of fractions."""
    with np.errstate(all="ignore"):
        changed = np.ascontiguousarray(values, dtype)
    if dtype.kind != "f" and not (values.dtype.kind != "f" and np.array_equal(changed, values)):
        raise Refused(400, f"{name} has values of type {values.dtype} that are none of {dtype}")
    return changed


def _end_if_failed(task: asyncio.Task[None]) -> None:
    """End the server if an instance cannot be used: requests would wait for ever."""
    if not task.cancelled() and (error := task.exception()) is not None:
        print(f"serve.py: the model cannot be used: {error!r}", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)


def written(kind: str, outputs: dict[str, Any]) -> tuple[bytes, int, None, str]:
    """Return the body of an answer, its status, its headers and its type."""
    if kind == NPZ:
        stream = io.BytesIO()
        np.savez(stream, **outputs)
        return stream.getvalue(), 200, None, NPZ
    try:
        lists = {name: values.tolist() for name, values in outputs.items()}
        return json.dumps({"outputs": lists}, allow_nan=False).encode(), 200, None, JSON
    except ValueError as error:
        raise Refused(422, f"an output is not finite, which JSON cannot say: ask for {NPZ}") from error


def make_app(server: Server) -> FastAPI:
    """Return the application."""
    app = FastAPI(title=FACTS["label"], lifespan=server.lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/predict", server.predict, methods=["POST"])

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n")

    @app.get("/readyz")
    def readyz() -> Response:
        return Response("ready\n") if server.ready else Response("loading\n", 503)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


def main() -> None:
    """Serve until SIGTERM; requests that were accepted are answered first."""
    parser = argparse.ArgumentParser(
        description=f"{FACTS['label']}: {__doc__}", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--max-wait-ms", type=float, default=2.0, help="how long a request waits for others of its batch"
    )
    parser.add_argument("--queue", type=int, default=256, help="requests that may wait, at least 1; others get 429")
    parser.add_argument("--max-mib", type=int, default=64, help="largest request")
    parser.add_argument("--read-s", type=float, default=30.0, help="longest time for a request to arrive")
    parser.add_argument("--stop-s", type=int, default=60, help="longest time to answer what was accepted")
    options = parser.parse_args()
    if options.queue < 1 or options.max_mib < 1 or options.read_s <= 0:
        parser.error("--queue and --max-mib: allowed: 1 and more; --read-s: more than 0")
    uvicorn.run(
        make_app(Server(options)),
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=options.stop_s,
    )


if __name__ == "__main__":
    main()
