"""Common code of PyTorch's backends, for any version of torch: threads, layout, and the execution of a module."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from runner.protocol import CONTRADICTED, VERIFIED, Finding
from runner.worker.backends.base import Answers, Settings, Step
from runner.worker.data.datasets import Images
from runner.worker.evidence import arithmetic, onednn
from runner.worker.failures import Unavailable
from runner.worker.subjects.models import Network, count_operations


class TorchModule:
    """Base class of PyTorch's runtimes: runs the module that a subclass loads."""

    def __init__(self, settings: Settings) -> None:
        """Store the settings, and set the number of threads of a request.

        Raises:
            Unsupported: the precision is none of fp32, bf16 and int8.
        """
        settings.refuse_text_precision()
        self._settings = settings
        self._set_threads()
        self._layout = torch.channels_last if settings.memory_format == "channels_last" else torch.contiguous_format
        self._module: Any = None
        self._compiled = False
        """Whether the subclass compiles the module with torch.compile."""
        self._network: Network | None = None
        """The module's network, from which its operations are counted; None if the module has none."""

    def requests(self) -> int:
        """Return 1 for ``sync``, one per thread for ``async``."""
        return self._settings.requests

    def autocast(self) -> torch.autocast:
        """Return the autocast context of the module; it is enabled for bf16."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._settings.precision == "bf16")

    def example(self, image_size: int) -> torch.Tensor:
        """Return a batch of zeros in the run's shape and layout, for tracing and compiling."""
        zeros = torch.zeros(self._settings.batch_size, 3, image_size, image_size)
        return zeros.contiguous(memory_format=self._layout)

    def bind(self, images: Images) -> Step:
        """Return a step that runs the module on these images."""
        batch = torch.from_numpy(images).contiguous(memory_format=self._layout)
        module, autocast, set_threads = self._module, self.autocast, self._set_threads

        def step() -> Any:
            set_threads()
            with torch.inference_mode(), autocast():
                return module(batch)

        return step

    def answers(self, images: Images) -> Answers:
        """Return the outputs in fp32."""
        return {"logits": self.bind(images)().float().numpy()}

    def marks(self) -> list[int]:
        """Return no times: no text is generated."""
        return []

    def counters(self) -> dict[str, int]:
        """Return the number of graphs that torch.compile has compiled."""
        return compile_counters() if self._compiled else {}

    def evidence(self, images: Images) -> list[Finding]:
        """Return the executed precision, and the number of compiled graphs."""
        expected = _multiply_accumulates(self._network) * len(images)
        return executed(self.bind(images), self._settings.precision, compiled=self._compiled, expected=expected)

    def _set_threads(self) -> None:
        """Set the calling thread's pool size: a new thread has OpenMP's default, all cores."""
        threads = self._settings.threads_per_request
        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def executed(step: Step, precision: str, *, compiled: bool, expected: float = 0.0) -> list[Finding]:
    """Return the precision that a step executes, and the number of compiled graphs.

    Args:
        step: the step; it runs once, with the libraries' verbose output.
        precision: the requested precision.
        compiled: whether the module was compiled with torch.compile.
        expected: multiply-accumulates of the step; 0 if the number is unknown.
    """
    works = onednn.run_verbosely(step, _verbose())
    source = "verbose output of oneDNN and MKL"
    found = [arithmetic.precision(precision, works, "multiply-accumulates", source, expected=expected)]
    if compiled:
        graphs, breaks = _dynamo("stats", "unique_graphs"), _dynamo("graph_break")
        found.append(
            Finding(
                knob="compile",
                asked="compiled",
                observed=f"graphs: {graphs}, graph breaks: {breaks}",
                state=VERIFIED if graphs else CONTRADICTED,
                source="torch._dynamo counters",
                remedy="" if graphs else "torch.compile fell back to eager mode: see the log",
                facts={"graphs": graphs, "breaks": breaks},
            )
        )
    return found


def require_compiler() -> None:
    """Check that a C++ compiler is installed.

    Raises:
        Unavailable: neither g++ nor clang++ is in PATH.
    """
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise Unavailable("torch.compile needs a C++ compiler: run apt-get install g++")


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


def compile_counters() -> dict[str, int]:
    """Return the number of graphs that torch.compile has compiled."""
    return {"graphs compiled": _dynamo("stats", "unique_graphs")}


def _multiply_accumulates(network: Network | None) -> float:
    """Return the multiply-accumulates per image, at two operations each; 0 if the number is unknown."""
    return 0.0 if network is None else count_operations(network.source, network.name, network.image_size) * 1e9 / 2


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
