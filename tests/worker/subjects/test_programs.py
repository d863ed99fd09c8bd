"""Exported programs: what is read from them, and that reading one executes nothing."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile

import pytest
import torch
from torch import nn

from runner.worker.failures import Refused
from runner.worker.subjects.files import program
from runner.worker.subjects.files.formats import inspect

HIDDEN, CLASSES, STEPS = 8, 4, 5


class TwoInputs(nn.Module):
    """Projects one input, and counts in the other."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(HIDDEN, CLASSES)

    def forward(self, values, mask):
        return {"scores": self.project(values), "pair": (mask.sum(1), values + 1)}


def export(path, *, open_batch=True):
    batch = torch.export.Dim("batch")
    shapes = ({0: batch}, {0: batch}) if open_batch else None
    example = torch.zeros(2, HIDDEN), torch.ones(2, STEPS, dtype=torch.bool)
    torch.export.save(torch.export.export(TwoInputs().eval(), example, dynamic_shapes=shapes), path)
    return path


class Evil:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def changed(path, target, part, change):
    """Write a copy of an archive with one file replaced: `change` gets its bytes."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
        for name in source.namelist():
            content = source.read(name)
            copy.writestr(name, change(content) if name.endswith(part) else content)
    return target


def test_inspection_of_a_program(tmp_path):
    """Outputs are named by their places in what it returns; the batch may be open or fixed."""
    found = inspect(export(tmp_path / "two.pt2"), [])
    assert [(port.name, port.dtype, port.shape[1:]) for port in found.inputs] == [
        ("values", "float32", [HIDDEN]),
        ("mask", "bool", [STEPS]),
    ]
    assert [port.name for port in found.outputs] == ["scores", "pair.0", "pair.1"]
    assert (found.kind, found.batch, found.precision) == ("program", None, "fp32")
    assert (found.parameters, found.macs) == (HIDDEN * CLASSES + CLASSES, HIDDEN * CLASSES)
    assert inspect(export(tmp_path / "fixed.pt2", open_batch=False), []).batch == 2


def test_pickled_sample_inputs_are_not_executed(tmp_path):
    """PyTorch would load them as a pickle with code where they hold more than tensors."""
    trace = tmp_path / "executed"
    buffer = io.BytesIO()
    torch.save(Evil(trace), buffer)
    path = changed(
        export(tmp_path / "two.pt2"), tmp_path / "evil.pt2", "sample_inputs/model.pt", lambda _: buffer.getvalue()
    )
    with pytest.raises(Refused, match=r"evil.pt2.*a program without code.*sample inputs"):
        program.load(path)
    assert not trace.exists()


@pytest.mark.parametrize("prefix", ["custom_obj_0", "opaque_obj_0"])
def test_pickled_constants_are_not_executed(tmp_path, prefix):
    """Custom objects are pickles."""
    trace = tmp_path / "executed"
    path = export(tmp_path / "two.pt2")
    evil = tmp_path / "evil.pt2"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(evil, "w", zipfile.ZIP_STORED) as copy:
        for name in source.namelist():
            copy.writestr(name, source.read(name))
        root = source.namelist()[0].split("/")[0]
        copy.writestr(f"{root}/data/constants/{prefix}", pickle.dumps(Evil(trace)))
    with pytest.raises(Refused, match="a pickled object"):
        program.load(evil)
    assert not trace.exists()


def test_pickled_weights_are_refused(tmp_path):
    """Weights of unusual types are pickled; the list of weights says so."""

    def pickled(content):
        config = json.loads(content)
        config["config"]["project.bias"]["use_pickle"] = True
        return json.dumps(config).encode()

    path = changed(export(tmp_path / "two.pt2"), tmp_path / "evil.pt2", "weights_config.json", pickled)
    with pytest.raises(Refused, match=r"project\.bias is pickled"):
        program.load(path)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "S(\"__import__('os')\")",
        "Symbol('s0').__class__",
        "[x for x in ()]",
        "Symbol('s0', name=open('x'))",
        "open('x', 'w')",
    ],
)
def test_expressions_are_arithmetic_only(tmp_path, expression):
    """PyTorch evaluates the expressions of shapes as code."""

    def replaced(content):
        graph = json.loads(content)
        graph["graph_module"]["graph"]["sym_int_values"] = {"x": {"as_expr": {"expr_str": expression}}}
        return json.dumps(graph).encode()

    path = changed(export(tmp_path / "two.pt2"), tmp_path / "evil.pt2", "models/model.json", replaced)
    with pytest.raises(Refused, match="It contains the expression"):
        program.load(path)


@pytest.mark.parametrize(
    "expression", ["Symbol('s23', positive=True, integer=True)", "Max(1, 2*s23)", "Mul(Integer(2), s0)"]
)
def test_arithmetic_of_shapes_is_accepted(expression):
    """As PyTorch writes it."""
    assert program._is_arithmetic(expression)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_program(tmp_path, share):
    """One line that names the file."""
    whole = export(tmp_path / "two.pt2").read_bytes()
    (tmp_path / "cut.pt2").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(Refused, match=r"cut\.pt2.*truncated") as caught:
        program.load(tmp_path / "cut.pt2")
    assert "\n" not in str(caught.value)


def test_other_archives_are_refused(tmp_path):
    """TorchScript, and a state_dict, are zip archives of pickles too."""
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated, and people have its files
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt2")
    torch.save({"a": torch.zeros(1)}, tmp_path / "state.pt2")
    for name in ("script", "state"):
        with pytest.raises(Refused, match="those of earlier versions and of TorchScript"):
            program.load(tmp_path / f"{name}.pt2")
