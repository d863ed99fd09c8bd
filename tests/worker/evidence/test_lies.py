"""Twelve models whose work is not where it seems: a row must not call their precision verified."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runner.protocol import Finding
from runner.worker.failures import JobFailure
from tests.worker.evidence.lies import precision_finding

pytestmark = pytest.mark.slow

VERIFIED = "verified"
LEAST = {"int8": 0.8, "fp32": 0.999}
"""The share of the multiply-accumulates from which a precision counts as executed."""
MICROSOFT = "com.microsoft"
OURS = "ours"
node = helper.make_node
generator = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    """Return random weights whose products neither vanish nor explode."""
    return (generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def integers(*shape: int) -> np.ndarray:
    """Return random weights in eight bits."""
    return generator.integers(-127, 128, shape).astype(np.int8)


def save(
    path: Path,
    nodes: Sequence[Any],
    takes: Sequence[int],
    gives: Sequence[int],
    stored: dict[str, Any],
    functions: Sequence[Any] = (),
) -> Path:
    """Write a graph from `x` to `y`, both float32, and return its path."""
    ports = [
        helper.make_tensor_value_info(*one) for one in zip("xy", [TensorProto.FLOAT] * 2, (takes, gives), strict=True)
    ]
    initializers = [numpy_helper.from_array(np.asarray(values), name) for name, values in stored.items()]
    graph = helper.make_graph(nodes, "test", ports[:1], ports[1:], initializers)
    domains = {one.domain: 1 for one in nodes if one.domain} | {"": 18}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def claim(path: Path, backend: str, precision: str, share: float) -> Finding | None:
    """Return what the runtime says of a planted lie; None if it refuses the model, and so claims nothing.

    Args:
        path: the model.
        backend: ort or openvino.
        precision: the requested one.
        share: of the multiply-accumulates that truly execute in it, computed by hand.
    """
    assert share < LEAST[precision], "not a lie"
    try:
        return precision_finding(path, backend, precision)
    except JobFailure as failure:
        if getattr(failure, "failure", failure).status != "unsupported":
            raise
        return None


def test_lstm_in_integers_is_not_fp32(tmp_path):
    """ONNX Runtime's DynamicQuantizeLSTM computes in integers in a file that passes for fp32."""
    steps, batch, width, hidden = 16, 2, 32, 64
    path = save(
        tmp_path / "lstm.onnx",
        [
            node("Reshape", ["x", "rows"], ["r"], name="rows_first"),
            node("Gemm", ["r", "A"], ["g"], name="gemm"),
            node("Reshape", ["g", "sequence"], ["s"], name="to_sequence"),
            node(
                "DynamicQuantizeLSTM",
                ["s", "W", "R", "", "", "", "", "", "scale", "zero", "scale", "zero"],
                ["", "last"],
                name="lstm",
                domain=MICROSOFT,
                hidden_size=hidden,
            ),
            node("Squeeze", ["last", "direction"], ["y"], name="squeeze"),
        ],
        [batch, steps, width],
        [batch, hidden],
        {
            "A": weights(width, width),
            "W": integers(1, width, 4 * hidden),
            "R": integers(1, hidden, 4 * hidden),
            "scale": np.array([0.001], np.float32),
            "zero": np.array([0], np.int8),
            "rows": np.array([steps * batch, width]),
            "sequence": np.array([steps, batch, width]),
            "direction": np.array([0]),
        },
    )
    floats = steps * batch * width * width  # the Gemm
    lstm = steps * batch * 4 * hidden * (width + hidden)
    finding = claim(path, "ort", "fp32", floats / (floats + lstm))  # 4 %
    assert finding is None or finding.state != VERIFIED, finding


def test_transposed_convolution_stays_in_fp32(tmp_path):
    """ONNX Runtime stores its weights in int8, converts them back, and convolves in fp32."""
    path = save(
        tmp_path / "up.onnx",
        [
            node("Conv", ["x", "A", "a"], ["h"], name="conv", pads=[1, 1, 1, 1]),
            node("ConvTranspose", ["h", "B"], ["y"], name="up"),
        ],
        [2, 3, 16, 16],
        [2, 1, 24, 24],
        {"A": weights(64, 3, 3, 3), "a": weights(64), "B": weights(64, 1, 9, 9)},
    )
    conv, up = 16 * 16 * 64 * 3 * 9, 16 * 16 * 64 * 1 * 81
    finding = claim(path, "ort", "int8", conv / (conv + up))  # 25 %
    assert finding is None or finding.state != VERIFIED, finding


def test_gru_stays_in_fp32(tmp_path):
    """OpenVINO runs both directions of a GRU in fp32, beside a product in int8."""
    steps, width, hidden, outputs = 16, 4, 64, 1000
    path = save(
        tmp_path / "gru.onnx",
        [
            node("Transpose", ["x"], ["s"], name="time_first", perm=[1, 0, 2]),
            node(
                "GRU",
                ["s", "W", "R", "B"],
                ["", "last"],
                name="gru",
                hidden_size=hidden,
                direction="bidirectional",
                linear_before_reset=1,
            ),
            node("Transpose", ["last"], ["t"], name="batch_first", perm=[1, 0, 2]),
            node("Reshape", ["t", "flat"], ["f"], name="flat"),
            node("MatMul", ["f", "V"], ["y"], name="product"),
        ],
        [2, steps, width],
        [2, outputs],
        {
            "W": weights(2, 3 * hidden, width),
            "R": weights(2, 3 * hidden, hidden),
            "B": weights(2, 6 * hidden),
            "V": weights(2 * hidden, outputs),
            "flat": np.array([2, 2 * hidden]),
        },
    )
    product, gru = 2 * hidden * outputs, 2 * steps * 3 * hidden * (width + hidden)
    finding = claim(path, "openvino", "int8", product / (product + gru))  # 23 %
    assert finding is None or finding.state != VERIFIED, finding


def test_einsum_stays_in_fp32(tmp_path):
    """OpenVINO makes a product in fp32 of an Einsum, after NNCF has passed over it."""
    rows, inner, outer = 32, 64, 256
    path = save(
        tmp_path / "einsum.onnx",
        [
            node("Gemm", ["x", "A"], ["h"], name="gemm"),
            node("Reshape", ["h", "shape"], ["r"], name="reshape"),
            node("Einsum", ["r", "B"], ["y"], name="einsum", equation="bij,jki->bik"),
        ],
        [2, 64],
        [2, rows, outer],
        {
            "A": weights(64, rows * inner),
            "B": weights(inner, outer, rows),
            "shape": np.array([2, rows, inner]),
        },
    )
    gemm, einsum = 64 * rows * inner, rows * inner * outer
    finding = claim(path, "openvino", "int8", gemm / (gemm + einsum))  # 20 %
    assert finding is None or finding.state != VERIFIED, finding


def unnamed_convolutions(path: Path) -> tuple[Path, int, int]:
    """Write eight convolutions without names; return the path, and the work of the six small and the two large ones.

    ONNX Runtime runs the two in fp32: a softmax makes the converter leave outputs in fp32, and no ReLU follows them.
    """
    small = [(3, 4), (4, 8), (8, 4), (4, 6), (6, 4), (4, 12)]
    nodes = []
    stored: dict[str, Any] = {"large": weights(64, 12, 5, 5), "last": weights(2, 64, 1, 1)}
    found = "x"
    for index, (takes, gives) in enumerate(small):
        stored[f"k{index}"] = weights(gives, takes, 3, 3)
        nodes.append(node("Conv", [found, f"k{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(node("Relu", [f"c{index}"], [f"r{index}"]))
        found = f"r{index}"
    nodes += [
        node("Conv", [found, "large"], ["l"], pads=[2, 2, 2, 2]),
        node("Tanh", ["l"], ["t"]),
        node("Conv", ["t", "last"], ["s"]),
        node("Softmax", ["s"], ["y"], axis=1),
    ]
    pixels = 16 * 16
    work = pixels * 9 * sum(takes * gives for takes, gives in small), pixels * (64 * 12 * 25 + 2 * 64)
    return save(path, nodes, [2, 3, 16, 16], [2, 2, 16, 16], stored), *work


def test_large_convolution_without_a_name_stays_in_fp32(tmp_path):
    """Six of eight convolutions run in int8, but the others do nearly all the work."""
    path, small, large = unnamed_convolutions(tmp_path / "unnamed.onnx")
    finding = claim(path, "ort", "int8", small / (small + large))  # 7 %
    assert finding is None or finding.state != VERIFIED, finding


def test_stored_integers_are_not_arithmetic_in_integers(tmp_path):
    """All weights have eight bits, but the large product takes them from a DequantizeLinear, and computes in fp32."""
    path = save(
        tmp_path / "stored.onnx",
        [
            node("DequantizeLinear", ["B", "fine", "signed"], ["Bf"], name="large_weights"),
            node("MatMul", ["x", "Bf"], ["h"], name="large"),
            node("QuantizeLinear", ["h", "coarse", "unsigned"], ["hq"], name="quantise"),
            node("DequantizeLinear", ["hq", "coarse", "unsigned"], ["hf"], name="dequantise"),
            node("DequantizeLinear", ["C", "fine", "signed"], ["Cf"], name="small_weights"),
            node("MatMul", ["hf", "Cf"], ["s"], name="small"),
            node("QuantizeLinear", ["s", "coarse", "unsigned"], ["sq"], name="quantise_result"),
            node("DequantizeLinear", ["sq", "coarse", "unsigned"], ["y"], name="dequantise_result"),
        ],
        [2, 256],
        [2, 8],
        {
            "B": integers(256, 256),
            "C": integers(256, 8),
            "fine": np.float32(0.01),
            "coarse": np.float32(0.1),
            "signed": np.int8(0),
            "unsigned": np.uint8(128),
        },
    )
    small, large = 256 * 8, 256 * 256
    finding = precision_finding(path, "ort", "as_is")
    claimed = re.search(r"([\d.]+) % int8", finding.observed)
    truth = 100 * small / (small + large)  # 3 %
    assert float(claimed[1] if claimed else 0) == pytest.approx(truth, abs=0.1), finding


def test_body_of_a_loop_stays_in_fp32(tmp_path):
    """NNCF quantises the products before and after a loop, not the one that runs 16 times within."""
    width, turns, outputs = 64, 16, 200
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, width]) for name in ("s", "t")]
    go_on = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("c", "d")]
    body = helper.make_graph(
        [
            node("MatMul", ["s", "R"], ["m"], name="inner"),
            node("Tanh", ["m"], ["t"], name="tanh"),
            node("Identity", ["c"], ["d"], name="same"),
        ],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), go_on[0], state[0]],
        [go_on[1], state[1]],
        [numpy_helper.from_array(weights(width, width), "R")],
    )
    path = save(
        tmp_path / "loop.onnx",
        [
            node("Gemm", ["x", "A"], ["h"], name="before"),
            node("Loop", ["turns", "true", "h"], ["l"], name="loop", body=body),
            node("Gemm", ["l", "B"], ["y"], name="after"),
        ],
        [2, width],
        [2, outputs],
        {"A": weights(width, width), "B": weights(width, outputs), "turns": np.int64(turns), "true": np.bool_(True)},
    )
    outside, inside = width * (width + outputs), turns * width * width
    finding = claim(path, "openvino", "int8", outside / (outside + inside))  # 20 %
    assert finding is None or finding.state != VERIFIED, finding


def test_product_of_activations_stays_in_fp32(tmp_path):
    """OpenVINO fuses attention into one operation; its second product has a factor in fp32."""
    tokens, width = 128, 16
    path = save(
        tmp_path / "attention.onnx",
        [
            *(node("MatMul", ["x", name.upper()], [name], name=f"to_{name}") for name in "qkv"),
            node("Transpose", ["k"], ["t"], name="transpose", perm=[0, 2, 1]),
            node("MatMul", ["q", "t"], ["s"], name="scores"),
            node("Softmax", ["s"], ["p"], name="softmax"),
            node("MatMul", ["p", "v"], ["y"], name="mix"),
        ],
        [2, tokens, width],
        [2, tokens, width],
        {name: weights(width, width) for name in "QKV"},
    )
    projections, scores, mix = 3 * tokens * width * width, tokens * tokens * width, tokens * tokens * width
    share = (projections + scores) / (projections + scores + mix)  # 58 %: the first product may be in int8
    finding = claim(path, "openvino", "int8", share)
    assert finding is None or finding.state != VERIFIED, finding


def test_wide_output_layer_stays_in_fp32(tmp_path):
    """ONNX Runtime does not fuse a Gemm whose addend is computed, though its weights are stored in int8."""
    width, outputs = 64, 50000
    path = save(
        tmp_path / "wide.onnx",
        [
            node("Gemm", ["x", "A"], ["h"], name="body"),
            node("Relu", ["h"], ["r"], name="relu"),
            node("ReduceMean", ["r", "last"], ["m"], name="mean"),
            node("Gemm", ["r", "B", "m"], ["y"], name="wide"),
        ],
        [2, width],
        [2, outputs],
        {"A": weights(width, width), "B": weights(width, outputs), "last": np.array([1])},
    )
    body, wide = width * width, width * outputs
    finding = claim(path, "ort", "int8", body / (body + wide))  # 0.1 %
    assert finding is None or finding.state != VERIFIED, finding


def test_convolution_in_one_dimension_in_integers_is_not_fp32(tmp_path):
    """A function within the file hides a ConvInteger from those who read only the graph."""
    length, channels, outputs = 64, 32, 10
    hidden = helper.make_function(
        OURS,
        "Smooth",
        ["x", "k"],
        ["y"],
        [
            node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("ConvInteger", ["q", "k", "zero"], ["i"], pads=[2, 2]),
            node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["f", "scale"], ["y"]),
        ],
        [helper.make_opsetid("", 18)],
    )
    path = save(
        tmp_path / "function.onnx",
        [
            node("Smooth", ["x", "K"], ["h"], name="smooth", domain=OURS),
            node("Flatten", ["h"], ["f"], name="flatten"),
            node("Gemm", ["f", "B"], ["y"], name="gemm"),
        ],
        [2, channels, length],
        [2, outputs],
        {"K": integers(channels, channels, 5), "B": weights(channels * length, outputs)},
        [hidden],
    )
    gemm, convolution = channels * length * outputs, length * channels * channels * 5
    finding = claim(path, "ort", "fp32", gemm / (gemm + convolution))  # 6 %
    assert finding is None or finding.state != VERIFIED, finding


def test_depthwise_convolution_is_little_work(tmp_path):
    """Who forgets the groups counts 64 times its work, and takes the model for one in int8."""
    channels, pixels = 64, 64
    path = save(
        tmp_path / "depthwise.onnx",
        [
            node("Conv", ["x", "A"], ["c"], name="depthwise", group=channels, pads=[1, 1, 1, 1]),
            node("Reshape", ["c", "shape"], ["r"], name="reshape"),
            node("FusedMatMul", ["r", "B"], ["y"], name="pointwise", domain=MICROSOFT, transA=1),
        ],
        [2, channels, 8, 8],
        [2, pixels, channels],
        {
            "A": weights(channels, 1, 3, 3),
            "B": weights(channels, channels),
            "shape": np.array([2, channels, pixels]),
        },
    )
    depthwise, pointwise = pixels * channels * 9, pixels * channels * channels
    assert depthwise * channels / (depthwise * channels + pointwise) > LEAST["int8"], "the miscount must be tempting"
    finding = claim(path, "ort", "int8", depthwise / (depthwise + pointwise))  # 12 %
    assert finding is None or finding.state != VERIFIED, finding


def test_attention_of_microsofts_domain_stays_in_fp32(tmp_path):
    """OpenVINO translates MultiHeadAttention into an operation that multiplies by values in fp32."""
    tokens, width = 128, 16
    path = save(
        tmp_path / "multihead.onnx",
        [
            node("MatMul", ["x", "A"], ["q"], name="projection"),
            node("MultiHeadAttention", ["q", "q", "q"], ["y"], name="attention", domain=MICROSOFT, num_heads=2),
        ],
        [2, tokens, width],
        [2, tokens, width],
        {"A": weights(width, width)},
    )
    projection, scores, mix = tokens * width * width, tokens * tokens * width, tokens * tokens * width
    share = (projection + scores) / (projection + scores + mix)  # 53 %: the first product may be in int8
    finding = claim(path, "openvino", "int8", share)
    assert finding is None or finding.state != VERIFIED, finding


def test_honest_convolutions_without_names_are_verified(tmp_path):
    """A control: OpenVINO runs all eight in int8."""
    path, _, _ = unnamed_convolutions(tmp_path / "unnamed.onnx")
    assert precision_finding(path, "openvino", "int8").state == VERIFIED
