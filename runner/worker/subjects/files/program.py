"""Programs that ``torch.export.save`` wrote: a graph of PyTorch's operators, with its weights as raw bytes.

``torch.export.load`` executes code if a file is made for it: pickles for weights of unusual types, for sample inputs
and for custom objects, expressions of shapes, compiled libraries. Such files are refused before they are loaded.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.worker.failures import Refused, gist
from runner.worker.subjects.files.model_file import FIELD, Extents, ModelFile
from runner.worker.subjects.structures import names_in
from runner.worker.subjects.subject import Port

if TYPE_CHECKING:
    from torch.export import ExportedProgram

SUFFIX = ".pt2"
BASELINE = "torch"
ARCHIVE_FORMAT = "archive_format"
"""A file in each archive that torch.export.save of PyTorch 2.8 and later writes."""
CODE_FOLDERS = ("/data/aotinductor/", "/executorch/", "/extra/xl_model_weights/")
"""Folders of an archive with compiled code."""
SHAPE_FIELD = "expr_str"
"""Holds an expression of SymPy, such as ``Mul(Integer(2), Symbol('s23', positive=True))``: PyTorch evaluates it."""
ARITHMETIC = (
    *(ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.BoolOp, ast.operator, ast.unaryop, ast.cmpop, ast.boolop),
)
"""Nodes of Python's syntax in such an expression: neither attributes nor subscripts."""
NAME = re.compile(r"[A-Z][A-Za-z]*|[a-z]+\d+")
"""Classes of SymPy, and symbols."""
SYMBOLS = ("Symbol", "Dummy")
"""The only classes that take a text, a name; others may evaluate theirs."""


def open_model(path: Path) -> ModelFile:
    """Return what a program holds.

    Raises:
        Refused: it is damaged, or loading it would execute code.
    """
    program = load(path)
    names = list(program.graph_signature.user_inputs)
    by_name = {node.name: node for node in program.graph.nodes}
    wrong = [name for name in names if not isinstance(name, str) or not _is_tensor(by_name[name])]
    if wrong:
        raise Refused(FIELD, path, "inputs that are tensors", f"{wrong[0]} is none: export the model without it")
    tensors = [by_name[name].meta["val"] for name in names]
    returned = [by_name[name] for name in program.graph_signature.user_outputs if isinstance(name, str)]
    outputs = zip(output_names(program), returned, strict=True)
    weights = [*program.state_dict.values(), *(one for one in program.constants.values() if _is_plain(one))]
    return ModelFile(
        kind="program",
        title="PyTorch exported program",
        producer="",
        files=(path,),
        inputs=tuple(_port(str(name), one) for name, one in zip(names, tensors, strict=True)),
        outputs=tuple(_port(name, node.meta["val"]) for name, node in outputs),
        parameters=sum(one.numel() for one in weights),
        precision=_precision(program, weights),
        count=lambda shapes: _count(program, shapes),
    )


def load(path: Path) -> ExportedProgram:
    """Load a program without executing anything that the file contains.

    Raises:
        Refused: it is damaged, of an older format, or loading it would execute code.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith(f"/{ARCHIVE_FORMAT}") for name in archive.namelist()):
                remedy = "It is truncated, or another archive: those of earlier versions and of TorchScript hold code"
                raise Refused(FIELD, path, "a file of torch.export.save of PyTorch 2.8 or later", remedy)
            for problem in _dangers(archive):
                raise Refused(FIELD, path, "a program without code", f"{problem}: export it again, without it")
        return torch.export.load(path)
    except Refused:
        raise
    except zipfile.BadZipFile as error:
        raise Refused(FIELD, path, "a file of torch.export.save", f"It is truncated, or no archive: {error}") from error
    except Exception as error:  # the format has many parts, and each fails in its own way
        remedy = f"PyTorch {torch.__version__} cannot read it ({gist(error)})"
        raise Refused(FIELD, path, "a file of torch.export.save", remedy) from error


def _dangers(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield what in an archive would be executed when it is loaded."""
    import torch

    for name in archive.namelist():
        if any(folder in f"/{name}" for folder in CODE_FOLDERS):
            yield f"It contains compiled code, {name}"
        elif "/data/sample_inputs/" in f"/{name}" and archive.getinfo(name).file_size:
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except Exception as error:  # a pickle with anything but tensors
                yield f"Its sample inputs are a pickle that holds more than tensors ({gist(error, 80)})"
        elif "/data/constants/" in f"/{name}" and not name.endswith("_config.json") and _is_pickle(name):
            yield f"It contains a pickled object, {name}"
        elif name.endswith("_config.json"):
            yield from _pickled(name, json.loads(archive.read(name)))
        elif "/models/" in f"/{name}" and name.endswith(".json"):
            yield from _expressions(json.loads(archive.read(name)))


def _is_pickle(name: str) -> bool:
    """Return whether a file of the folder of constants is anything but a tensor's bytes."""
    return not Path(name).name.startswith("tensor_")


def _pickled(name: str, config: dict[str, Any]) -> Iterator[str]:
    """Yield the tensors that a list of weights or constants says are pickled."""
    for tensor, meta in config.get("config", {}).items():
        if meta.get("use_pickle"):
            yield f"{tensor} is pickled ({Path(name).name})"


def _expressions(node: Any) -> Iterator[str]:
    """Yield the expressions in a graph that are more than arithmetic on symbols."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == SHAPE_FIELD and isinstance(value, str) and not _is_arithmetic(value):
                yield f"It contains the expression {value[:60]!r}"
            else:
                yield from _expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _expressions(value)


def _is_arithmetic(text: str) -> bool:
    """Return whether an expression only calls classes of SymPy, on numbers and symbols."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except SyntaxError:
        return False
    names = {
        id(node.args[0])
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SYMBOLS and node.args
    }
    for node in nodes:
        if not isinstance(node, ARITHMETIC):
            return False
        if isinstance(node, ast.Name) and not NAME.fullmatch(node.id):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in names or not NAME.fullmatch(node.value):
                return False
        elif isinstance(node, ast.Constant) and not isinstance(node.value, (int, float)):
            return False
    return True


def output_names(program: ExportedProgram) -> list[str]:
    """Return a name for each output of a program, by its place in what the program returns."""
    spec = program.call_spec.out_spec
    assert spec is not None
    return names_in(spec)


def _is_tensor(node: Any) -> bool:
    import torch

    return isinstance(node.meta.get("val"), torch.Tensor)


def _is_plain(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _port(name: str, tensor: Any) -> Port:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Port(name, dtype, tuple(one if isinstance(one, int) else str(one) for one in tensor.shape))


def _precision(program: ExportedProgram, weights: list[Any]) -> str:
    """Return the precision of a program, by its operators and by most of its weights."""
    import torch

    if any("quantized_decomposed" in str(node.target) for node in program.graph.nodes):
        return "int8"
    total = sum(one.numel() for one in weights)
    for kind, name in ((torch.float16, "fp16"), (torch.bfloat16, "bf16"), (torch.int8, "int8")):
        if 2 * sum(one.numel() for one in weights if one.dtype == kind) > total:
            return name
    return "fp32"


def _count(program: ExportedProgram, shapes: Extents) -> float:
    """Return the multiply-accumulates of a program, run without weights on PyTorch's meta device; 0 if that fails."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    inputs = [
        torch.zeros(shapes[name], dtype=node.meta["val"].dtype, device="meta")
        for name, node in ((node.name, node) for node in program.graph.nodes if node.op == "placeholder")
        if name in shapes
    ]
    counter = FlopCounterMode(display=False)
    try:
        args, kwargs = torch.utils._pytree.tree_unflatten(inputs, program.call_spec.in_spec)
        module = program.module().to("meta").requires_grad_(False)
        with counter, torch.inference_mode():
            module(*args, **kwargs)
    except (NotImplementedError, RuntimeError):  # an operator without a meta kernel, or one on values
        return 0.0
    return counter.get_total_flops() / 2 if math.isfinite(counter.get_total_flops()) else 0.0
