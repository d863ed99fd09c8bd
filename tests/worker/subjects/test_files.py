"""Model files: what is read from them, the shapes that they leave open, and their multiply-accumulates."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runner.worker.data.tensors import SyntheticTensors, TensorSpec
from runner.worker.evidence import onnx_work
from runner.worker.failures import Refused
from runner.worker.subjects.file import file_recipe
from runner.worker.subjects.files.formats import inspect, open_file
from runner.worker.subjects.files.shapes import Range, apply, parse
from runner.worker.subjects.subject import Port
from tests.worker.subjects.models import CLASSES, WIDTH, one_convolution, save, two_inputs

OPEN = Port("ids", "int64", ("batch", "length"))


@pytest.mark.parametrize(
    ("text", "name", "extents"),
    [
        ("[batch,3,224,224]", "", ("batch", 3, 224, 224)),
        ("ids[batch,128]", "ids", ("batch", 128)),
        ('"images:0"[ 1, 3 ]', "images:0", (1, 3)),
        ("'a b/c'[7]", "a b/c", (7,)),
        ("serving_default_x:0[2]", "serving_default_x:0", (2,)),
        ("rate[]", "rate", ()),
    ],
)
def test_shapes_are_read_as_people_write_them(text, name, extents):
    """Any name that a file may have, inside quotes if it needs them."""
    found = parse(text)
    assert (found.name, found.extents, found.dtype, found.range) == (name, extents, None, None)


def test_a_shape_has_a_type_and_a_range():
    """Both may follow it."""
    found = parse("ids[batch,128]:int64:0..30521")
    assert (found.dtype, found.range) == ("int64", Range(0, 30521))
    assert parse("x[1]:-1.5..0.5").range == Range(-1.5, 0.5)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (["ids[batch,?]"], r"allowed: extents that are numbers, or batch\. Replace \? by a number"),
        (["ids"], r"allowed: NAME\[EXTENT,…\]"),
        (["idz[batch,4]"], "No input is called idz; nearest: ids"),
        (["ids[batch]"], r"allowed: a shape that fits ids\[batch,length\]:int64"),
        (["ids[batch,4]:float32"], "allowed: the type of the file, int64"),
        ([], r'Add .model\.shapes=\["ids\[batch,128\]"\]'),
    ],
)
def test_shapes_that_cannot_be_used(shapes, reason):
    """One line with what was received, what is allowed, and the remedy."""
    with pytest.raises(Refused, match=reason) as caught:
        apply(shapes, [OPEN])
    assert "\n" not in str(caught.value)


def test_shapes_fill_what_the_file_leaves_open():
    """The first open extent remains the batch; a number makes it fixed; one input needs no name."""
    assert apply(["[batch,9]"], [OPEN])[0] == (Port("ids", "int64", ("batch", 9)),)
    assert apply(["ids[2,9]:0..7"], [OPEN]) == ((Port("ids", "int64", (2, 9)),), {"ids": Range(0, 7)})
    state = Port("state", "float32", (2, "batch", 128))
    assert apply([], [state])[0] == (state,)


def test_inspection_of_a_graph(tmp_path):
    """Inputs, outputs, parameters, and the work of one sample."""
    found = inspect(two_inputs(tmp_path / "two.onnx"), ["ids[batch,16]", "mask[batch,16]"])
    assert [(port.name, port.dtype, port.shape) for port in found.inputs] == [
        ("ids", "int64", ["batch", "length"]),
        ("mask", "int64", ["batch", "length"]),
    ]
    assert [(port.name, port.dtype) for port in found.outputs] == [("scores", "float32"), ("total", "int64")]
    assert (found.kind, found.batch, found.problem, found.precision) == ("onnx", None, "", "fp32")
    assert (found.title, found.macs) == ("ONNX, opset 18", 16 * WIDTH * CLASSES)


def test_inspection_of_a_graph_that_leaves_an_extent_open(tmp_path):
    """It is described all the same; the problem says what is missing."""
    found = inspect(two_inputs(tmp_path / "two.onnx"), [])
    assert (found.macs, found.problem.startswith("model.shapes: received nothing")) == (0, True)


def test_a_batch_that_the_file_fixes(tmp_path):
    """Its work is that of one of its samples: 6 × 10 pixels × 4 kernels × 9."""
    found = inspect(one_convolution(tmp_path / "fixed.onnx"), [])
    assert (found.batch, found.macs) == (3, 6 * 10 * 4 * 9)
    assert inspect(one_convolution(tmp_path / "open.onnx", "n"), []).batch is None


def test_an_ir_is_read_as_the_graph_it_came_from(tmp_path):
    """OpenVINO's format has the same inputs, outputs and work."""
    from runner.worker.libraries import import_openvino

    openvino = import_openvino()
    path = tmp_path / "two.xml"
    openvino.save_model(openvino.Core().read_model(two_inputs(tmp_path / "two.onnx")), path)
    found = inspect(path, ["ids[batch,16]", "mask[batch,16]"])
    assert [(port.name, port.dtype) for port in found.inputs] == [("ids", "int64"), ("mask", "int64")]
    assert (found.kind, found.batch, found.macs, found.precision) == ("ir", None, 16 * WIDTH * CLASSES, "fp32")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.onnx", None, "allowed: a file that exists"),
        ("empty.onnx", b"", "The file is empty"),
        ("text.onnx", b"this is a text, not a model\n" * 20, "truncated, or no ONNX"),
        ("model.tflite", b"TFL3", r"allowed: a file ending in .onnx, .pt2, .xml, or a folder"),
        ("alone.xml", b"<net/>", "a file with its weights, alone.bin"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, reason):
    """One line that names the file."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=reason) as caught:
        open_file(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_graph_is_refused_wherever_it_ends(tmp_path):
    """Protobuf may accept the beginning of a message."""
    whole = two_inputs(tmp_path / "two.onnx").read_bytes()
    for share in (0.02, 0.3, 0.6, 0.99):
        (tmp_path / "cut.onnx").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(Refused, match="truncated, or no ONNX"):
            open_file(tmp_path / "cut.onnx")


def test_weights_in_another_file(tmp_path):
    """They are found beside the graph; without them it is refused, by their name."""
    model = onnx.load(two_inputs(tmp_path / "two.onnx"))
    path = tmp_path / "external.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="external.data", size_threshold=0)
    assert [file.name for file in open_file(path).files] == ["external.onnx", "external.data"]
    (tmp_path / "external.data").unlink()
    with pytest.raises(Refused, match=r"a file with its weights, external\.data, beside it"):
        open_file(path)


def test_files_in_the_cache_are_no_symbolic_links(tmp_path):
    """OpenVINO and ONNX's quantiser refuse these for the weights of a graph."""
    model = onnx.load(two_inputs(tmp_path / "two.onnx"))
    path = tmp_path / "external.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="external.data", size_threshold=0)
    folder = tmp_path / "cached"
    folder.mkdir()
    file_recipe(path).build(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["description.json", "external.data", "model.onnx"]
    assert not any(file.is_symlink() for file in folder.iterdir())
    assert (folder / "external.data").read_bytes() == (tmp_path / "external.data").read_bytes()


def _value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@pytest.mark.parametrize(
    ("operator", "inputs", "weights", "attributes", "expected"),
    [
        ("Conv", [2, 4, 5, 5], [(6, 2, 3, 3)], {"group": 2}, 2 * 6 * 3 * 3 * 2 * 9),
        ("ConvTranspose", [2, 4, 5, 5], [(4, 3, 2, 2)], {}, 2 * 4 * 25 * 3 * 4),
        ("MatMul", [2, 7, 8], [(8, 3)], {}, 2 * 7 * 3 * 8),
        ("Gemm", [8, 7], [(8, 3)], {"transA": 1}, 7 * 3 * 8),
        ("LSTM", [9, 2, 5], [(1, 16, 5), (1, 16, 4)], {"hidden_size": 4}, 9 * 2 * 4 * 4 * (5 + 4)),
        ("GRU", [9, 2, 5], [(1, 12, 5), (1, 12, 4)], {"hidden_size": 4}, 9 * 2 * 3 * 4 * (5 + 4)),
        ("Einsum", [3, 4], [(4, 5)], {"equation": "ij,jk->ik"}, 0),
    ],
)
def test_multiply_accumulates_by_hand(tmp_path, operator, inputs, weights, attributes, expected):
    """Of each operator with products; 0, not known, of a graph with one that is not counted."""
    names = [f"w{number}" for number in range(len(weights))]
    node = helper.make_node(operator, ["x", *names], ["y"], **attributes)
    stored = {name: np.ones(shape, np.float32) for name, shape in zip(names, weights, strict=True)}
    path = save(tmp_path / "one.onnx", [node], [_value("x", inputs)], [_value("y", [])], stored)
    assert onnx_work.count(onnx.load(path), {"x": tuple(inputs)}) == expected


def test_synthetic_values_have_the_types_and_ranges_of_the_inputs():
    """They depend on the seed and on the sample; the batch may be on any axis, or absent."""
    specs = [
        TensorSpec("ids", "int64", (None, 40), 5, 9),
        TensorSpec("mask", "int32", (None, 40)),
        TensorSpec("kept", "bool", (None, 40)),
        TensorSpec("state", "float32", (2, None, 3)),
        TensorSpec("rate", "int64", (), 16000, 16000),
        TensorSpec("level", "float64", (4,), -1.0, -0.5),
    ]
    source = SyntheticTensors(specs, 10, seed=1)
    batch = source.batch([3, 4, 5])
    assert {name: (values.shape, str(values.dtype)) for name, values in batch.items()} == {
        "ids": ((3, 40), "int64"),
        "mask": ((3, 40), "int32"),
        "kept": ((3, 40), "bool"),
        "state": ((2, 3, 3), "float32"),
        "rate": ((), "int64"),
        "level": ((4,), "float64"),
    }
    assert set(np.unique(batch["ids"])) == {5, 6, 7, 8, 9}
    assert set(np.unique(batch["mask"])) == {0, 1}
    assert (batch["rate"], batch["level"].max() <= -0.5) == (16000, True)
    again = SyntheticTensors(specs, 10, seed=1).batch([5])
    np.testing.assert_array_equal(again["state"][:, 0], batch["state"][:, 2])
    assert source.notes([0]) == [
        "synthetic values of mask are 0 or 1: give their range in model.shapes, as in ids[batch,128]:0..30521"
    ]


def test_shapes_that_cannot_be_inferred_leave_no_file(tmp_path, monkeypatch):
    """ONNX Runtime's script writes one into the current folder when it fails."""
    monkeypatch.chdir(tmp_path)
    nodes = [helper.make_node("Mystery", ["a"], ["b"], domain="x"), helper.make_node("MatMul", ["b", "b"], ["c"])]
    given = [helper.make_tensor_value_info("a", TensorProto.FLOAT, [2, 2])]
    graph = helper.make_graph(nodes, "graph", given, [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("x", 1)]
    assert onnx_work._infer_symbolically(helper.make_model(graph, opset_imports=opsets)).node[0].op_type == "Mystery"
    assert list(tmp_path.iterdir()) == []
