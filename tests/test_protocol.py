"""The protocol's messages: encode and decode are inverse, and everything else is rejected."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from runner.job import Environment, Job
from runner.protocol import (
    UNKNOWN,
    Failure,
    Finding,
    Hello,
    Load,
    Loaded,
    Observed,
    Phase,
    ProtocolError,
    RunSlice,
    Slice,
    decode,
    encode,
)
from tests.jobs import GROUPS, make_job

EVERY_GROUP: dict[str, Any] = {
    **{"source": "transformers", "name": "tiny", "image_size": 64, "weights": "file", "weights_path": "/net.pt"},
    **{
        "task": "text-classification",
        "model_id": "a/b",
        "revision": "main",
        "architecture": "distilbert",
        "model_config": {"n_layers": 1},
    },
    **{"sequence_length": 16, "new_tokens": 5},
    **{"preprocessing": {"crop": 1.0}, "classes": 7, "weights_key": "ema"},
    **{"labels": "/labels.csv", "left_out": ["a.png"], "columns": {"text": "review"}, "logits": "scores"},
    **{"data": "one_text", "data_path": "/texts", "data_text": "fine", "evaluation_samples": 7},
    **{"calibration_samples": 9},
    **{
        "backend": "ort",
        "precision": "int8",
        "steering": {"ignore": ["Conv"]},
        "options": {"spinning": [True, None, {"a": 1.5}]},
        "threads": 2,
    },
    **{"memory_format": "channels_last", "scenario": "async", "scope": "pipeline", "pipeline_batch_size": 3},
    **{"batch_size": 2, "seed": 1, "cache_dir": "/cache"},
    **{"allocator": "tcmalloc", "allocator_library": "/libtcmalloc.so", "openmp": "/libiomp5.so", "hugepages": "thp"},
    **{"path": "/mine.onnx", "shapes": ["[batch,3]"], "environment": "ipex"},
    **{"environments": {"host": Environment("/python", "digest")}},
    **{"layout": "fixed", "cores": [2, 5], "env": {"KMP_BLOCKTIME": "1"}},
}
"""A value other than the default for every field of a job."""


@pytest.mark.parametrize(
    "message",
    [
        Load(make_job()),
        Hello(7),
        Phase("load"),
        RunSlice(0.1, 3, 7, 1.5, 5),
        RunSlice(1, 3, 7, 2, 5),
        Slice([[1, 2, 3]], 0),
        Loaded(0.1, 0.2, 0.3, None, ["onnx"], "w", "d", ["a note"]),
        Observed([]),
        Observed([Finding("threads", "2", "2", UNKNOWN, "a source", facts={"busy": 2, "cores_used": 1.9})]),
        Failure("failed", "why"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_round_trip(message):
    """Each message is one line and decodes to an equal message."""
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == message


def test_round_trip_of_a_job_without_any_default():
    """Every field of every group arrives."""
    job = make_job(**EVERY_GROUP)
    for group in GROUPS:
        for field in dataclasses.fields(getattr(job, group)):
            value = getattr(getattr(job, group), field.name)
            assert value != getattr(getattr(Job(), group), field.name), f"{group}.{field.name}"
    decoded = decode(encode(Load(job)))
    assert decoded == Load(job)
    assert [type(getattr(decoded.job, group)) for group in GROUPS] == list(GROUPS.values())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"[]",
        b"{}",
        b'{"type": "Nothing"}',
        b'{"type": "Hello"}',
        b'{"type": "Hello", "x": 1}',
        b'{"type": "Hello", "pid": 7, "x": 1}',
        b'{"type": "Hello", "pid": "7"}',
        b'{"type": "Hello", "pid": true}',
        b'{"type": "Load", "job": 3}',
        b'{"type": "Load", "job": {}}',
        b'{"type": "Observed", "evidence": [{}]}',
        b'{"type": "Observed", "evidence": {}}',
        b"\xff",
    ],
)
def test_invalid_lines_are_rejected(line):
    """Garbage, an unknown type, and missing, unknown and ill-typed fields."""
    with pytest.raises(ProtocolError):
        decode(line)


@pytest.mark.parametrize("group", GROUPS)
def test_missing_and_unknown_nested_fields_are_rejected(group):
    """In every group, and the message names the group and the field."""
    complete = json.loads(encode(Load(make_job())))
    for name in complete["job"][group]:
        missing = json.loads(json.dumps(complete))
        del missing["job"][group][name]
        with pytest.raises(ProtocolError, match=rf"Load\.job\.{group}: .*missing fields \['{name}'\]"):
            decode(json.dumps(missing).encode())
    complete["job"][group]["surplus"] = 1
    with pytest.raises(ProtocolError, match=rf"Load\.job\.{group}: unknown fields \['surplus'\]"):
        decode(json.dumps(complete).encode())


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("subject", "image_size", "224"),
        ("subject", "model_config", []),
        ("data", "path", 3),
        ("engine", "threads", 1.5),
        ("run", "seed", True),
        ("expectations", "cores", [1, "2"]),
        ("expectations", "env", {"OMP_NUM_THREADS": 2}),
    ],
)
def test_ill_typed_nested_fields_are_rejected(group, name, value):
    """Scalars, optional scalars, and items of lists and dicts."""
    fields = json.loads(encode(Load(make_job())))
    fields["job"][group][name] = value
    with pytest.raises(ProtocolError, match=rf"Load\.job\.{group}\.{name}.*: received .*; allowed: "):
        decode(json.dumps(fields).encode())
