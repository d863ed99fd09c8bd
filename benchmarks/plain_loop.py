"""The loop a person would write by hand, in a process of its own: what the program's throughput is held against.

Nothing of the program's timing is used: only the files it cached are. Reads a number of seconds per line from standard
input, answers each with ``batches seconds``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runner.protocol import Load, decode
from runner.worker.build import gather, open_cache
from runner.worker.data.datasets import Images
from runner.worker.subjects.subject import Subject


def torch_step(artifact: Path | None, subject: Subject, images: Images) -> Callable[[], object]:
    """Return a call of the eager module."""
    import torch

    model = subject.module()
    batch = torch.from_numpy(images)

    def step() -> object:
        with torch.inference_mode():
            return model(batch)

    return step


def ort_step(artifact: Path | None, subject: Subject, images: Images) -> Callable[[], object]:
    """Return a call of an inference session with its defaults."""
    import onnxruntime

    assert artifact is not None
    session = onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: images})


def openvino_step(artifact: Path | None, subject: Subject, images: Images) -> Callable[[], object]:
    """Return a call of the compiled model, as OpenVINO's own introduction does it."""
    import openvino

    assert artifact is not None
    core = openvino.Core()
    model = core.read_model(artifact / "model.xml")
    model.reshape(list(images.shape))
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
    return lambda: compiled(images)


STEPS = {"torch": torch_step, "ort": ort_step, "openvino": openvino_step}


def main() -> None:
    """Load what the job's worker loads, then time batches as told."""
    request = decode(Path(sys.argv[1]).read_bytes())
    assert isinstance(request, Load)
    job = request.job
    parts = gather(job, open_cache(job, job.engine.environment).require)
    step = STEPS[job.engine.backend](parts.model.folder, parts.subject, parts.samples)
    answers = os.fdopen(int(sys.argv[2]), "w", buffering=1)
    for line in sys.stdin:
        limit = float(line)
        batches = 0
        begin = time.perf_counter()
        while time.perf_counter() - begin < limit or batches == 0:
            step()
            batches += 1
        print(batches, time.perf_counter() - begin, file=answers)


if __name__ == "__main__":
    main()
