"""Common code of PyTorch's backends, for any version of torch: threads, layout, and the execution of a module."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runner.protocol import CONTRADICTED, VERIFIED, Finding
from runner.worker.backends.base import Model, Outputs, Probe, Runtime, Settings, Step
from runner.worker.evidence import arithmetic, onednn
from runner.worker.failures import Unavailable, Unsupported
from runner.worker.subjects.subject import Batch, Subject


class TorchModule(Runtime):
    """Base class of PyTorch's runtimes: runs the module that a subclass loads."""

    takes_layout = True

    def __init__(self, settings: Settings) -> None:
        """Store the settings, and set the number of threads of a request."""
        super().__init__(settings)
        self._set_threads()
        self._module: Any = None
        self._subject: Subject
        self._compiled = False
        """Whether the subclass compiles the module with torch.compile."""

    def autocast(self) -> torch.autocast:
        """Return the autocast context of the module; it is enabled for bf16."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bf16")

    def tensors(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return a batch as tensors, images in the run's layout.

        Raises:
            Unsupported: channels_last is requested, and no input has channels, height and width.
        """
        found = {name: torch.from_numpy(values) for name, values in batch.items()}
        if self._settings.memory_format == "contiguous":
            return found
        if not any(one.ndim == 4 for one in found.values()):
            raise Unsupported("memory_format=channels_last is for images: take memory_format=contiguous")
        return {
            name: one.contiguous(memory_format=torch.channels_last) if one.ndim == 4 else one
            for name, one in found.items()
        }

    def in_layout(self, module: Any) -> Any:
        """Return a module with its weights in the run's layout."""
        channels_last = self._settings.memory_format == "channels_last"
        return module.to(memory_format=torch.channels_last) if channels_last else module

    def example(self, model: Model) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        """Return arguments in the run's shapes and layout, for tracing and compiling: zeros."""
        zeros = {name: np.zeros_like(values) for name, values in model.example.items()}
        return model.subject.arguments(self.tensors(zeros))

    def bind(self, batch: Batch) -> Step:
        """Return a step that runs the module on a batch."""
        args, kwargs = self._subject.arguments(self.tensors(batch))
        module, autocast, set_threads = self._module, self.autocast, self._set_threads

        def step() -> Any:
            set_threads()
            with torch.inference_mode(), autocast():
                return module(*args, **kwargs)

        return step

    def outputs(self, batch: Batch) -> Outputs:
        """Return the outputs, floating-point ones in fp32."""
        return as_arrays(self._subject.name_outputs(self.bind(batch)()))

    def counters(self) -> dict[str, int]:
        """Return the number of graphs that torch.compile has compiled."""
        return {"graphs compiled": _dynamo("stats", "unique_graphs")} if self._compiled else {}

    def evidence(self, probe: Probe) -> list[Finding]:
        """Return the executed precision, and the number of compiled graphs."""
        works = onednn.run_verbosely(lambda: probe.run(self), _verbose())
        source = "verbose output of oneDNN and MKL"
        found = [arithmetic.precision(self._precision, works, "multiply-accumulates", source, expected=probe.macs)]
        return [*found, _compilation()] if self._compiled else found

    def _set_threads(self) -> None:
        """Set the calling thread's pool size: a new thread has OpenMP's default, all cores."""
        threads = self._settings.threads_per_request
        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def as_arrays(tensors: Mapping[str, torch.Tensor]) -> Outputs:
    """Return tensors as arrays, floating-point values in fp32."""
    return {name: (one.float() if one.is_floating_point() else one).detach().numpy() for name, one in tensors.items()}


def _compilation() -> Finding:
    """Report the graphs that torch.compile has compiled, and the breaks between them."""
    graphs, breaks = _dynamo("stats", "unique_graphs"), _dynamo("graph_break")
    return Finding(
        knob="compile",
        asked="compiled",
        observed=f"graphs: {graphs}, graph breaks: {breaks}",
        state=VERIFIED if graphs else CONTRADICTED,
        source="torch._dynamo counters",
        remedy="" if graphs else "torch.compile fell back to eager mode: see the log",
        facts={"graphs": graphs, "breaks": breaks},
    )


def require_compiler() -> None:
    """Check that what torch.compile makes can be built here.

    Raises:
        Unavailable: neither g++ nor clang++ is in PATH, or the headers of this Python are missing.
    """
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise Unavailable("torch.compile needs a C++ compiler: run apt-get install g++")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        raise Unavailable(f"torch.compile needs the headers of Python: run apt-get install {package}")


def compiled(call: Callable[..., Any], *, freezing: bool) -> Any:
    """Compile a module or a function with torch.compile, for static shapes.

    Args:
        call: the module or function.
        freezing: treat weights as constants, fold and pack them.
    """
    from torch._dynamo import config as dynamo  # here, not above: these imports take a second
    from torch._inductor import config as inductor

    # Set for the whole process: as an option of torch.compile, it leaves int8 operators unlowered.
    inductor.freezing = freezing
    # Otherwise inputs with more shapes than the recompile limit would silently run in eager mode.
    dynamo.fail_on_recompile_limit_hit = True
    return torch.compile(call, dynamic=False)


@contextmanager
def _verbose() -> Iterator[None]:
    """Enable the verbose output of oneDNN (IPEX replaces this switch by its own) and of MKL."""
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        if not torch.backends.mkl.is_available():
            yield
            return
        with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
            yield


def _dynamo(group: str, name: str | None = None) -> int:
    """Return one of torch.compile's counters, or the sum of a group."""
    from torch._dynamo.utils import counters  # here, not above: this import takes a second

    return int(counters[group][name] if name else sum(counters[group].values()))
