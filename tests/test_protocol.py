"""The channel's messages: what goes in comes out, and nothing else is taken."""

import pytest

from runner.protocol import Failure, Hello, Job, Load, Phase, ProtocolError, RunSlice, Slice, decode, encode

JOB = Job(
    backend="fake",
    precision="fp32",
    model_source="torchvision",
    model_name="resnet18",
    image_size=32,
    weights="random",
    weights_path=None,
    data="digits",
    data_path=None,
    evaluation_samples=8,
    calibration_samples=8,
    batch_size=4,
    memory_format="contiguous",
    threads=None,
    scenario="sync",
    seed=0,
    cache_dir="/tmp/cache",
    python="python3",
    options={"batch_s": 0.1},
)


@pytest.mark.parametrize(
    "message",
    [Load(JOB), Hello(7), Phase("load"), RunSlice(0.1, 3, 7, 1.5, 5), Slice([[1, 2, 3]], 0), Failure("failed", "why")],
)
def test_round_trip(message):
    """Every message is one line, and reads back as itself."""
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == message


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
        b"\xff",
    ],
)
def test_what_is_no_message_is_refused(line):
    """Garbage, an unknown type, a missing field, an unknown field."""
    with pytest.raises(ProtocolError):
        decode(line)
