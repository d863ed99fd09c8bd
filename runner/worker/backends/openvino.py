"""OpenVINO: fp32 and bf16 by precision hint, int8 by NNCF, and weight-only int8 and int4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from runner.protocol import Finding
from runner.worker.backends import base
from runner.worker.backends.base import Deployment, Model, Outputs, Probe, Settings, Step, copy_files
from runner.worker.converters.openvino_files import input_names, read
from runner.worker.evidence import openvino_graph
from runner.worker.evidence.openvino_graph import LayerWork
from runner.worker.failures import Unsupported, gist
from runner.worker.libraries import import_openvino
from runner.worker.subjects.subject import FILES, GENERATION, IR, ONNX, Batch, Form, Signature, select, shapes_of

openvino = import_openvino()

PROPERTIES: dict[str, dict[str, str]] = {
    "fp32": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "int8": {"INFERENCE_PRECISION_HINT": "f32"},
    "int8_accuracy": {"INFERENCE_PRECISION_HINT": "f32"},
    "int8_weights": {"INFERENCE_PRECISION_HINT": "f32"},
    "int4_weights": {"INFERENCE_PRECISION_HINT": "f32"},
    "as_is": {"INFERENCE_PRECISION_HINT": "f32"},
}
"""Properties of the CPU plugin by precision. Without them, it runs fp32 models in bf16 if the processor supports it,
and stores keys and values in 8 bits. With int8 and as_is, the unquantised layers run in fp32."""
UNCONVERTED = re.compile(
    r"^-- (?:No conversion rule found for operations|Conversion is failed for): (.+)$", re.MULTILINE
)
"""What OpenVINO's summary says of operators that it lacks, or cannot convert in this graph."""
WEIGHTS_ONLY = ("int8_weights", "int4_weights")


class Runtime(base.Runtime):
    """Runs inference requests on a compiled model."""

    packages = ("openvino", "nncf", "optimum-intel")
    accepts: ClassVar = {
        "fp32": (IR, ONNX),
        "bf16": (IR, ONNX),
        "int8": (Form("ir", "int8"),),
        "int8_accuracy": (Form("ir", "int8_accuracy"),),
        "int8_weights": (Form("ir", "int8_weights"),),
        "int4_weights": (Form("ir", "int4_weights"),),
        "as_is": (Form("ir", "as_is"), Form("onnx", "as_is")),
    }

    def __init__(
        self,
        settings: Settings,
        *,
        hint: Literal["latency", "throughput", "none"] | None = None,
        streams: int | None = None,
        shape: Literal["static", "dynamic"] = "static",
        inputs: Literal["preset", "copy"] = "preset",
    ) -> None:
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            hint: OpenVINO's performance hint; None takes latency for sync and throughput for async.
            streams: concurrent inferences; None leaves the number to the hint.
            shape: static compiles for the batches' shape if all have the same; dynamic accepts any.
            inputs: preset shares the inputs' memory with the request once, copy copies them in every call.
        """
        super().__init__(settings)
        self._hint = hint or ("throughput" if settings.scenario == "async" else "latency")
        self._streams = streams
        self._static = shape == "static"
        self._inputs = inputs
        self._signature: Signature
        self._shapes: dict[str, list[int]] | None = None
        """The shapes that the model was compiled for; None if it takes any."""
        self._compiled: Any = None
        self._source: Any = None
        """The model before compilation."""
        self._work: LayerWork
        self._request: Any = None
        """The request of :meth:`outputs`, made at the first call."""

    def _properties(self) -> dict[str, Any]:
        properties: dict[str, Any] = dict(PROPERTIES[self._precision])
        if self._hint != "none":
            properties["PERFORMANCE_HINT"] = self._hint.upper()
        if self._streams is not None:
            properties["NUM_STREAMS"] = str(self._streams)
        if self._settings.threads is not None:
            properties["INFERENCE_NUM_THREADS"] = str(self._settings.threads)
        return properties

    def load(self, model: Model) -> None:
        """Read the model, set its shapes if they are fixed, and compile it."""
        self._signature = model.subject.signature
        with _unsupported():
            self._compile(model)

    def _compile(self, model: Model) -> None:
        assert model.folder is not None
        found = read(model.folder)
        shapes = {name: list(shape) for name, shape in shapes_of(select(model.example, input_names(found))).items()}
        self._shapes = shapes if self._static and model.fixed_shapes else None
        counted = found if self._shapes else found.clone()  # a clone shares the weights
        counted.reshape(shapes)
        self._work = openvino_graph.count_work(counted)
        self._source = found
        self._compiled = openvino.Core().compile_model(found, "CPU", self._properties())
        self._request = None

    def load_generator(self, model: Model) -> None:
        """Compile the model with Optimum's class around it."""
        from runner.worker.backends.generation import TransformersLoop, torch_on_one_thread
        from runner.worker.converters.optimum_openvino import model_class

        torch_on_one_thread()
        opened = model_class(model.subject.task).from_pretrained(
            model.folder, file_name=FILES["ir"], compile=False, ov_config=self._properties(), local_files_only=True
        )
        self._work, self._source = openvino_graph.count_work(opened.model), opened.model
        opened.compile()
        self._compiled = opened.request.get_compiled_model()
        self.generator = TransformersLoop(opened)

    def deploy(self, model: Model, target: Path) -> Deployment:
        """Copy the IR or the graph, with its weights."""
        copy_files(model.folder, target)
        settings = {
            "file": next(name for name in (FILES["ir"], FILES["onnx"]) if (target / name).exists()),
            "properties": self._properties(),
            "shapes": self._shapes,
            "inputs": self._inputs,
            "outputs": [port.name for port in model.subject.signature.outputs],
        }
        loop = ("optimum-intel", "torch") if model.subject.task == GENERATION else ()
        return Deployment(settings, ("openvino", "numpy", *loop))

    def requests(self) -> int:
        """Return 1 for ``sync``; for ``async`` the number that OpenVINO reports as optimal."""
        if self._settings.scenario == "sync":
            return 1
        return int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def bind(self, batch: Batch) -> Step:
        """Return a step that runs inference on a batch in its own request."""
        request = self._compiled.create_infer_request()
        feed = select(batch, input_names(self._compiled))
        if self._inputs == "copy":

            def copying() -> Any:
                request.infer(feed)
                return request

            return copying
        for name, values in feed.items():
            request.set_tensor(name, openvino.Tensor(values, shared_memory=True))

        def step(_keep_alive: object = feed) -> Any:  # the tensors do not own the shared memory
            request.infer()
            return request

        return step

    def outputs(self, batch: Batch) -> Outputs:
        """Return copies of all outputs: the request reuses their memory."""
        if self._request is None:
            self._request = self._compiled.create_infer_request()
        self._request.infer(select(batch, input_names(self._compiled)))
        known = {port.name for port in self._signature.outputs}
        return {
            next((name for name in port.get_names() if name in known), port.get_any_name()): tensor.data.copy()
            for port, tensor in zip(self._compiled.outputs, self._request.output_tensors, strict=True)
        }

    def evidence(self, probe: Probe) -> list[Finding]:
        """Return the precision of the compiled model's layers, or that of the weights if only these are compressed."""
        if self._precision in WEIGHTS_ONLY:
            return [openvino_graph.weights_precision(self._precision, self._source, self._compiled)]
        partial = self._settings.partial
        found = openvino_graph.executed(
            self._precision, self._compiled, self._work, expected=probe.macs, partial=partial
        )
        return [found]


@contextmanager
def _unsupported() -> Iterator[None]:
    """Report a model that OpenVINO cannot read or compile as unsupported: its exceptions are all RuntimeErrors."""
    try:
        yield
    except RuntimeError as error:
        unconverted = UNCONVERTED.findall(str(error))
        what = f"cannot run this model ({gist(error)})"
        if unconverted:
            what = f"does not convert the operators {', '.join(unconverted)}"
        raise Unsupported(f"OpenVINO {what}: take backend=ort or torch") from error
