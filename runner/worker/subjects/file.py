"""A model in a file of the user: an ONNX graph, an OpenVINO IR, or an exported program of PyTorch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.job import Job
from runner.protocol import AS_IS
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.arrays import class_output, open_tensors
from runner.worker.data.datasets import Dataset
from runner.worker.failures import BadInput, Unsupported
from runner.worker.subjects.files import program
from runner.worker.subjects.files.formats import open_file
from runner.worker.subjects.files.model_file import ModelFile, fixed_batch
from runner.worker.subjects.files.shapes import Range, apply
from runner.worker.subjects.structures import flatten
from runner.worker.subjects.subject import (
    CHECKPOINT,
    CLASSIFICATION,
    FILES,
    Batch,
    Form,
    Port,
    Signature,
    Subject,
    spec_of,
)

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

FILE_VERSION = 4
"""Part of the cache key. Increment it when the description of files changes."""
DESCRIPTION = "description.json"


class FileSubject(Subject):
    """A model file, in a folder of the cache under the name that backends and converters read."""

    def __init__(
        self, name: str, task: str, folder: Path, description: Mapping[str, Any], filled: tuple[Port, ...]
    ) -> None:
        """Store the model's parts.

        Args:
            name: for messages.
            task: tensors or embedding.
            folder: with the files of the model.
            description: written by :func:`file_recipe`.
            filled: the inputs, with the shapes of the job.
        """
        self.name = name
        self.task = task
        self._folder = folder
        self._digest: str = description["digest"]
        self._kind: str = description["kind"]
        self.forms = forms_of(self._kind, description["precision"])
        self.signature = Signature(filled, tuple(map(_port, description["outputs"])))

    @property
    def digest(self) -> str:
        """SHA-256 of the file and of those with its weights."""
        return self._digest

    @property
    def key(self) -> dict[str, Any]:
        """Content and signature."""
        return {"file": self._digest, "signature": self.signature.key}

    def folder(self, form: Form) -> Path | None:
        """Return the folder with the model."""
        return self._folder if form in self.forms else None

    def inputs(self, samples: Any) -> Batch:
        """Return the samples: they are named inputs."""
        batch: Batch = samples
        return batch

    def macs_per_sample(self) -> float | None:
        """Return the multiply-accumulates of a sample, counted in the graph; 0 if they are not known."""
        return open_file(self._path).macs_per_sample(self.signature.inputs)

    @property
    def _path(self) -> Path:
        return (self._folder / FILES[self._kind]).resolve()

    @cached_property
    def _program(self) -> ExportedProgram:
        """The exported program.

        Raises:
            Unsupported: the file is a graph of another format.
        """
        if self._kind != "program":
            raise Unsupported(f"{self.name} is no PyTorch program: take backend=ort or openvino")
        return program.load(self._path)

    def module(self) -> nn.Module:
        """Return an exported program as a module. It has no mode: training was decided when it was exported.

        Raises:
            Unsupported: the file is a graph of another format.
        """
        return self._program.module()

    def meta_module(self) -> nn.Module:
        """Return the module on the meta device."""
        return self.module().to("meta")

    def arguments(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return the inputs in the structure with which the program was exported."""
        from torch.utils import _pytree

        flat = [tensors[port.name] for port in self.signature.inputs]
        args, kwargs = _pytree.tree_unflatten(flat, self._program.call_spec.in_spec)
        return tuple(args), dict(kwargs)

    def name_outputs(self, found: Any) -> dict[str, Tensor]:
        """Return the outputs by their places in what the program returns."""
        return flatten(found)


def forms_of(kind: str, precision: str) -> tuple[Form, ...]:
    """Return the forms that a model file comes in.

    Args:
        kind: of the file.
        precision: of the file. One that is not fp32 runs as it is: no other precision can be made of it.
    """
    stored = "fp32" if precision == "fp32" else AS_IS
    if kind == CHECKPOINT.kind:
        return (CHECKPOINT, Form("module"))
    return (Form("module" if kind == "program" else kind, stored),)


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
    """Return a file's model and its data; see :class:`runner.worker.subjects.subject.Opener`."""
    assert job.subject.path is not None
    folder = fetch(file_recipe(Path(job.subject.path)))
    description = json.loads((folder / DESCRIPTION).read_text())
    filled, ranges = apply(job.subject.shapes, tuple(map(_port, description["inputs"])))
    fixed = fixed_batch(filled)
    if fixed is not None and fixed != job.run.batch_size:
        raise BadInput(f"batch_size: received {job.run.batch_size}; allowed: {fixed}, which {job.subject.name} fixes")
    subject = FileSubject(job.subject.name, job.subject.task, folder, description, filled)
    specs = [spec_of(port, *_ends(ranges.get(port.name))) for port in filled]
    outputs = [spec_of(port) for port in subject.signature.outputs]
    dataset = open_tensors(job.data, specs, outputs, job.run.seed)
    if dataset.source.labels is not None:
        subject.task, subject.logits = CLASSIFICATION, class_output(outputs, job.data.logits).name
    return replace(dataset, fixed_batch=fixed), subject


def _ends(limits: Range | None) -> tuple[float | None, float | None]:
    return (limits.low, limits.high) if limits else (None, None)


def file_recipe(path: Path) -> Recipe:
    """Return the recipe of a model file's description, with its files under the names that backends read.

    The key has the file's size and time; the content is hashed once, where the artifact is made.
    """
    if not path.is_file():
        raise BadInput(f"model.path: received {path}; allowed: a file that exists")
    found = path.stat()

    def build(folder: Path) -> None:
        opened = open_file(path)
        name = FILES[opened.kind]
        _place(path, folder / name)
        for weights in opened.files[1:]:
            own = Path(name).with_suffix(".bin") if opened.kind == "ir" else weights.relative_to(path.parent)
            (folder / own).parent.mkdir(parents=True, exist_ok=True)
            _place(weights, folder / own, copy=opened.kind == "onnx")
        (folder / DESCRIPTION).write_text(json.dumps(_describe(opened)))

    key = {"path": str(path), "size": found.st_size, "time": found.st_mtime_ns, "version": FILE_VERSION}
    return Recipe("file", key, build)


def _place(file: Path, target: Path, *, copy: bool = False) -> None:
    """Give a file a second name, or copy it to another file system.

    Args:
        file: the user's.
        target: the name.
        copy: copy it in any case: for the weights beside a graph, OpenVINO refuses symbolic links and ONNX hard ones.
    """
    with contextlib.suppress(OSError):  # another file system, or a file of somebody else
        if not copy:
            os.link(file.resolve(), target)
            return
    shutil.copyfile(file, target)


def _describe(opened: ModelFile) -> dict[str, Any]:
    digest = hashlib.sha256()
    for file in opened.files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return {
        "kind": opened.kind,
        "precision": opened.precision,
        "digest": digest.hexdigest(),
        "inputs": [[port.name, port.dtype, list(port.shape)] for port in opened.inputs],
        "outputs": [[port.name, port.dtype, list(port.shape)] for port in opened.outputs],
    }


def _port(parts: list[Any]) -> Port:
    name, dtype, shape = parts
    return Port(name, dtype, tuple(shape))
