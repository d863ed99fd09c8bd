"""ONNX Runtime's CPU provider: fp32 (exported or optimised), static int8 in QDQ format, and dynamic int8."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import onnxruntime

from runner.protocol import Finding
from runner.worker.backends import base
from runner.worker.backends.base import Deployment, Model, Outputs, Probe, Settings, Step, copy_files
from runner.worker.evidence import ort_profile
from runner.worker.evidence.isa import cpu_flags
from runner.worker.failures import Unsupported
from runner.worker.subjects.subject import FILES, GENERATION, ONNX, Batch, Form, select

LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""ONNX Runtime's names for the levels of graph optimisation."""
MISSING_OPERATOR = re.compile(
    r"(\S+?\(-?\d+\)) is not a registered function/op|Could not find an implementation for (\S+?\(\d+\))"
)
"""What ONNX Runtime says of an operator that it lacks: domain, name and opset."""


class Runtime(base.Runtime):
    """Runs an inference session on a graph."""

    packages = ("onnxruntime", "onnx", "optimum-onnx")
    accepts: ClassVar = {
        "fp32": (ONNX,),
        "int8": (Form("onnx", "int8"),),
        "int8_dynamic": (Form("onnx", "int8_dynamic"),),
        "as_is": (Form("onnx", "as_is"),),
    }

    proves_apart = True
    lacks: ClassVar = {"bf16": "ONNX Runtime's CPU provider has no bf16 arithmetic on x86"}

    def __init__(
        self,
        settings: Settings,
        *,
        graph_optimization: Literal["none", "basic", "extended", "all"] = "all",
        execution_mode: Literal["sequential", "parallel"] = "sequential",
        inter_threads: int | None = None,
        spinning: bool = True,
        affinity: str | None = None,
        optimization: Literal["O1", "O2", "O3", "O4"] | None = None,
        quantization: Literal["auto", "avx2", "avx512", "avx512_vnni", "arm64"] = "auto",
    ) -> None:
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            graph_optimization: level of graph optimisation at load time.
            execution_mode: run operators one after the other, or independent ones in parallel.
            inter_threads: threads for independent operators; takes effect with execution_mode=parallel.
            spinning: whether waiting threads spin instead of sleeping.
            affinity: cores of the pool's threads in ONNX Runtime's syntax, for example ``1;2``; needs a thread count.
            optimization: ORTOptimizer's level: O1 general, O2 also fuses operators, O3 also approximates GELU.
            quantization: Optimum's configuration for precision=int8_dynamic; auto takes the one for this processor.

        Raises:
            Unsupported: optimization is O4, which is for GPUs, or is combined with int8.
        """
        super().__init__(settings)
        if optimization == "O4":
            raise Unsupported("optimization=O4 needs a GPU (it is O3 in fp16): take backend.options.optimization=O3")
        if optimization is not None and settings.precision != "fp32":
            raise Unsupported(
                "ORTQuantizer cannot infer the types in a graph with operators that ORTOptimizer has fused: take "
                "precision=fp32 with optimization, or int8 without (ONNX Runtime fuses operators at load time)"
            )
        self._graph_optimization = graph_optimization
        self._execution_mode = execution_mode
        self._inter_threads = inter_threads
        self._spinning = spinning
        self._affinity = affinity
        self._optimization = optimization
        self._quantization = best_plan(cpu_flags()) if quantization == "auto" else quantization
        self._session: Any = None
        self._profile_folder: Path | None = None
        """Where to write a profile and the optimised graph; None while timed."""

    def accepted(self) -> tuple[Form, ...]:
        """Return the graph for the precision, optimised or quantised as the options request.

        Raises:
            Unsupported: it does not implement the precision.
        """
        [form] = super().accepted()
        if self._precision == "int8_dynamic":
            return (Form("onnx", "int8_dynamic", self._quantization),)
        return (form,) if self._optimization is None else (Form("onnx", "fp32", self._optimization),)

    def load(self, model: Model) -> None:
        """Open a session for the graph."""
        assert model.folder is not None
        path = model.folder / FILES["onnx"]
        try:
            self._session = onnxruntime.InferenceSession(
                path, self._session_options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base
            lacking = MISSING_OPERATOR.search(str(error))
            if lacking is None:
                raise
            operator = next(filter(None, lacking.groups()))
            raise Unsupported(
                f"ONNX Runtime does not implement the operator {operator}: take backend=openvino, or export without it"
            ) from error

    def load_generator(self, model: Model) -> None:
        """Open a session for the graph, with Optimum's class around it."""
        from runner.worker.backends.generation import TransformersLoop, torch_on_one_thread
        from runner.worker.converters.optimum_onnx import model_class

        torch_on_one_thread()
        opened = model_class(model.subject.task).from_pretrained(
            model.folder, file_name=FILES["onnx"], session_options=self._session_options(), local_files_only=True
        )
        self._session = opened.session
        self.generator = TransformersLoop(opened)

    def _session_options(self) -> Any:
        """Return the options of a session; with a profile if a folder for it is set."""
        chosen = self._chosen()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, chosen["graph_optimization"])
        options.execution_mode = getattr(onnxruntime.ExecutionMode, chosen["execution_mode"])
        for name in ("intra_op_num_threads", "inter_op_num_threads"):
            if chosen[name] is not None:
                setattr(options, name, chosen[name])
        for name, value in chosen["config"].items():
            options.add_session_config_entry(name, value)
        if self._profile_folder is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(self._profile_folder / "profile")
            options.optimized_model_filepath = str(self._profile_folder / FILES["onnx"])
            # Within the file, weights of more than 2 GB could not be written.
            weights = "session.optimized_model_external_initializers_file_name"
            options.add_session_config_entry(weights, "weights.bin")
        return options

    def _chosen(self) -> dict[str, Any]:
        """Return the options of a session in ONNX Runtime's names, as JSON values; None is its default."""
        threads = self._settings.threads_per_request
        if threads is None and self._settings.cores < (os.cpu_count() or 1):
            # By default it counts the machine's physical cores, and binds a thread to each: also outside the mask.
            threads = self._settings.cores
        config = {} if self._spinning else {"session.intra_op.allow_spinning": "0"}
        if self._affinity is not None:
            config["session.intra_op_thread_affinities"] = self._affinity
        return {
            "graph_optimization": LEVELS[self._graph_optimization],
            "execution_mode": f"ORT_{self._execution_mode.upper()}",
            "intra_op_num_threads": threads,
            "inter_op_num_threads": self._inter_threads,
            "config": config,
        }

    def deploy(self, model: Model, target: Path) -> Deployment:
        """Copy the graph, with its external weights."""
        copy_files(model.folder, target)
        loop = ("optimum-onnx", "torch") if model.subject.task == GENERATION else ()
        return Deployment({"file": FILES["onnx"], **self._chosen()}, ("onnxruntime", "numpy", *loop))

    def bind(self, batch: Batch) -> Step:
        """Return a step that runs the session on a batch."""
        session = self._session
        feed = select(batch, ([one.name] for one in session.get_inputs()))
        return lambda: session.run(None, feed)

    def outputs(self, batch: Batch) -> Outputs:
        """Return all outputs."""
        return dict(zip([one.name for one in self._session.get_outputs()], self.bind(batch)(), strict=True))

    def evidence(self, probe: Probe) -> list[Finding]:
        """Return the executed precision, from a session with the same options and the profiler."""
        import onnx  # here, not above: the measured process must not load it

        with tempfile.TemporaryDirectory(prefix="runner-ort-") as folder:
            self._profile_folder = Path(folder)
            probe.load(self)
            probe.run(self)
            events = json.loads(Path(self._session.end_profiling()).read_text())
            graph = onnx.load(Path(folder) / FILES["onnx"], load_external_data=False).graph
            weights = ort_profile.weight_shapes(graph)
            partial = self._settings.partial
            return [ort_profile.precision(self._precision, events, weights, expected=probe.macs, partial=partial)]


def best_plan(flags: frozenset[str]) -> str:
    """Return the name of Optimum's quantisation configuration for a processor, by its flags in /proc/cpuinfo."""
    if "asimd" in flags:
        return "arm64"
    if "avx512_vnni" in flags:
        return "avx512_vnni"
    return "avx512" if "avx512f" in flags else "avx2"
