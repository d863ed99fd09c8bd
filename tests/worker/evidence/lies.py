"""What a runtime says about the precision of a model file, for tests that plant a lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.protocol import Finding
from tests.jobs import make_job
from tests.worker.backends.test_backends import opened


def precision_finding(
    path: Path, backend: str, precision: str, shapes: Sequence[str] = (), *, batch_size: int = 2
) -> Finding:
    """Load a model file in a runtime, run a batch, and return the finding about its precision.

    Args:
        path: the file; artifacts are made beside it.
        backend: ort or openvino.
        precision: fp32, int8 or another.
        shapes: of inputs that the file leaves open, as in ``x[batch,16]``.
        batch_size: samples; the file may fix it.

    Raises:
        JobFailure: the combination is unsupported.
    """
    job = make_job(
        source="file",
        name=path.stem,
        path=str(path),
        shapes=list(shapes),
        task="tensors",
        weights="own",
        data="synthetic",
        backend=backend,
        precision=precision,
        batch_size=batch_size,
        cache_dir=str(path.parent / "cache"),
    )
    parts = opened(job)
    [finding] = [one for one in parts.runtime.evidence(parts.probe) if one.knob == "precision"]
    return finding
