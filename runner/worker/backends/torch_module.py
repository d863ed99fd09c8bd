"""What PyTorch's backends share, whichever torch their interpreter has: threads, layout, and how a module is run."""

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
    """A module that is loaded by who inherits, and run here."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings, and set how many threads a request has."""
        settings.refuse_text_precision()
        self._settings = settings
        self._set_threads()
        self._layout = torch.channels_last if settings.memory_format == "channels_last" else torch.contiguous_format
        self._module: Any = None
        self._compiled = False
        """Whether who inherits compiles it by torch.compile."""
        self._network: Network | None = None
        """What it was made of, whose work is known; None for a module of another kind."""

    def requests(self) -> int:
        """Return one, or one per thread."""
        return self._settings.requests

    def autocast(self) -> torch.autocast:
        """Return the context in which the module runs: bf16 if that is the precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._settings.precision == "bf16")

    def example(self, image_size: int) -> torch.Tensor:
        """Return a batch of zeros in the run's own shape and layout, for what traces or compiles."""
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
        """Return nothing: no text is generated."""
        return []

    def counters(self) -> dict[str, int]:
        """Return how many graphs torch.compile has made."""
        return compile_counters() if self._compiled else {}

    def evidence(self, images: Images) -> list[Finding]:
        """Return in which precision a batch was computed, and what was compiled."""
        expected = _multiply_accumulates(self._network) * len(images)
        return executed(self.bind(images), self._settings.precision, compiled=self._compiled, expected=expected)

    def _set_threads(self) -> None:
        """Tell the calling thread how many threads it computes with: a new one has OpenMP's default, all cores."""
        threads = self._settings.threads_per_request
        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def executed(step: Step, precision: str, *, compiled: bool, expected: float = 0.0) -> list[Finding]:
    """Return in which precision a step computes, and what torch.compile has made.

    Args:
        step: is run once, under verbose flags.
        precision: the requested one.
        compiled: whether torch.compile was.
        expected: multiply-accumulates that the step should show; 0 if that is not known.
    """
    works = onednn.run_verbosely(step, _verbose())
    source = "oneDNN's and MKL's verbose lines"
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
                remedy="" if graphs else "torch.compile fell back to eager: look at the log",
                facts={"graphs": graphs, "breaks": breaks},
            )
        )
    return found


def require_compiler() -> None:
    """Refuse to compile without a compiler.

    Raises:
        Unavailable: there is no C++ compiler.
    """
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise Unavailable("what torch.compile makes needs a C++ compiler: run apt-get install g++")


def compiled(call: Callable[..., Any], *, freezing: bool) -> Any:
    """Return what torch.compile makes of a module or a function, for the shapes that it will be called with.

    Args:
        call: what is compiled.
        freezing: take weights as constants, and pack and fold them.
    """
    from torch._dynamo import config as dynamo  # here, not above: importing them takes a second
    from torch._inductor import config as inductor

    # Set for the whole process: as an option of torch.compile it leaves int8 operators unlowered.
    inductor.freezing = freezing
    # Else inputs of more shapes than it compiles for would run eagerly without notice.
    dynamo.fail_on_recompile_limit_hit = True
    return torch.compile(call, dynamic=False)


def compile_counters() -> dict[str, int]:
    """Return how many graphs torch.compile has made."""
    return {"graphs compiled": _dynamo("stats", "unique_graphs")}


def _multiply_accumulates(network: Network | None) -> float:
    """Return those of one image's inference, 0 if they are not known; two operations are one."""
    return 0.0 if network is None else count_operations(network.source, network.name, network.image_size) * 1e9 / 2


@contextmanager
def _verbose() -> Iterator[None]:
    """Switch on the verbose lines of oneDNN (IPEX has put its own switch there) and of MKL."""
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        if not torch.backends.mkl.is_available():
            yield
            return
        with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
            yield


def _dynamo(group: str, name: str | None = None) -> int:
    """Return one of torch.compile's counters, or the sum of a group of them."""
    from torch._dynamo.utils import counters  # here, not above: importing it takes a second

    return int(counters[group][name] if name else sum(counters[group].values()))
