"""ONNX Runtime through Optimum: fp32 (exported or optimised), dynamic int8, and static int8."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from runner.protocol import DIGEST_FILE, Finding
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.backends.base import Settings
from runner.worker.backends.generation import TransformersRuntime, arrays
from runner.worker.backends.ort import profiled, quantise, refuse_bf16, session_options
from runner.worker.data.datasets import CALIBRATION_BATCH, Dataset
from runner.worker.evidence.isa import cpu_flags, has_vnni
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoint import AUTO_CLASSES, Checkpoint
from runner.worker.subjects.onnx_export import ONNX_FILE

EXPORT_VERSION = 1
"""Part of the cache key. Increment it when the way of exporting or quantising changes: cached models become invalid."""


class Runtime(TransformersRuntime):
    """Runs a model of Optimum for ONNX Runtime."""

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
            Unsupported: the precision is not implemented; optimization is O4, which is for GPUs; or optimization is
                combined with int8.
        """
        super().__init__(settings)
        refuse_bf16(settings.precision)
        if settings.precision not in ("fp32", "int8", "int8_dynamic"):
            raise Unsupported(
                f"backend=ort does not implement precision={settings.precision} for Transformers: "
                "take precision=int8_dynamic, or backend=openvino"
            )
        if optimization == "O4":
            raise Unsupported("optimization=O4 needs a GPU (it is O3 in fp16): take backend.options.optimization=O3")
        if optimization is not None and settings.precision != "fp32":
            raise Unsupported(
                "ORTQuantizer cannot infer the types in a graph with operators that ORTOptimizer has fused: take "
                "precision=fp32 with optimization, or int8 without (ONNX Runtime fuses operators at load time)"
            )
        self._options = partial(
            session_options,
            threads=settings.threads,
            graph_optimization=graph_optimization,
            execution_mode=execution_mode,
            inter_threads=inter_threads,
            spinning=spinning,
            affinity=affinity,
        )
        self._optimization = optimization
        self._quantization = best_plan(cpu_flags()) if quantization == "auto" else quantization
        self._artifact: Path

    def recipe(self, network: Checkpoint, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return the recipe that exports the model, and optimises or quantises it if requested.

        Raises:
            Unsupported: static int8 of a model that generates text.
        """
        exported = export_recipe(network)
        precision = self._settings.precision
        key = {"exported": exported.key, "packages": package_versions("onnxruntime", "optimum-onnx")}
        if precision == "int8_dynamic":
            plan = self._quantization
            return Recipe(
                "optimum-int8-dynamic",
                key | {"plan": plan, "version": EXPORT_VERSION},
                lambda folder: quantise_dynamic(fetch(exported), folder, plan),
            )
        if precision == "int8":
            return self._static_recipe(exported, key, network, dataset, fetch)
        if self._optimization is not None:
            level = self._optimization
            return Recipe(
                "optimum-optimised",
                key | {"level": level, "version": EXPORT_VERSION},
                lambda folder: optimise(fetch(exported), folder, level),
            )
        return exported

    @staticmethod
    def _static_recipe(
        exported: Recipe, key: dict[str, Any], network: Checkpoint, dataset: Dataset, fetch: Fetch
    ) -> Recipe:
        if network.task == "text-generation":
            raise Unsupported("calibration provides no ranges for cached keys and values: take precision=int8_dynamic")
        reduce_range = not has_vnni()  # as for images, see runner.worker.backends.ort

        def build(folder: Path) -> None:
            source = fetch(exported)
            batches = dataset.batches(dataset.calibration, CALIBRATION_BATCH)
            feeds = (arrays(batch) for batch, _ in batches)
            quantise(source / ONNX_FILE, folder / ONNX_FILE, feeds, reduce_range=reduce_range, symbolic=False)
            (folder / "config.json").write_bytes((source / "config.json").read_bytes())

        calibration = dataset.digest_of(dataset.calibration)
        key |= {
            "calibration": [calibration, network.sequence_length],
            "reduce_range": reduce_range,
            "version": EXPORT_VERSION,
        }
        return Recipe("optimum-int8", key, build)

    def load(self, network: Checkpoint, artifact: Path | None) -> None:
        """Open a session with Optimum's class for the task."""
        assert artifact is not None
        self._checkpoint = network
        self._artifact = artifact
        self._model = self._open(self._options())

    def _open(self, options: Any) -> Any:
        kind = model_class(self._checkpoint.task)
        return kind.from_pretrained(self._artifact, file_name=ONNX_FILE, session_options=options, local_files_only=True)

    def evidence(self, images: Any) -> list[Finding]:
        """Return the executed precision, from a second model with the same options and the profiler."""

        def run(options: Any) -> Any:
            model = self._open(options)
            self.step_of(model, images)()
            return model.session

        return [profiled(self._settings.precision, self._options(), run)]


def best_plan(flags: frozenset[str]) -> str:
    """Return the name of Optimum's quantisation configuration for a processor, by its flags in /proc/cpuinfo."""
    if "asimd" in flags:
        return "arm64"
    if "avx512_vnni" in flags:
        return "avx512_vnni"
    return "avx512" if "avx512f" in flags else "avx2"


def model_class(task: str) -> Any:
    """Return Optimum's model class for a task in ONNX Runtime."""
    import optimum.onnxruntime

    return getattr(optimum.onnxruntime, f"ORTModelFor{AUTO_CLASSES[task]}")


def export_recipe(network: Checkpoint) -> Recipe:
    """Return the recipe that exports a checkpoint to ONNX with Optimum."""

    def build(folder: Path) -> None:
        network.refuse_unexportable("onnx")
        model_class(network.task).from_pretrained(network.folder, export=True, local_files_only=True).save_pretrained(
            folder
        )

    packages = package_versions("optimum-onnx", "onnx")
    return Recipe("optimum-onnx", {"network": network.key, "packages": packages, "version": EXPORT_VERSION}, build)


def quantise_dynamic(source: Path, target: Path, plan: str) -> None:
    """Quantise a model's weights to int8 per channel, and write it; activations are quantised at run time.

    Args:
        source: folder of the exported model.
        target: folder to write to.
        plan: name of a constructor of Optimum's AutoQuantizationConfig.
    """
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = getattr(AutoQuantizationConfig, plan)(is_static=False, per_channel=True)
    quantizer = ORTQuantizer.from_pretrained(source, file_name=ONNX_FILE)
    quantizer.quantize(save_dir=target, quantization_config=config)
    _rename_model(source, target)


def optimise(source: Path, target: Path, level: str) -> None:
    """Optimise a model's graph with ORTOptimizer, and write it.

    Args:
        source: folder of the exported model.
        target: folder to write to.
        level: O1, O2 or O3.
    """
    from optimum.onnxruntime import ORTOptimizer
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    ORTOptimizer.from_pretrained(source, file_names=[ONNX_FILE]).optimize(
        save_dir=target, optimization_config=getattr(AutoOptimizationConfig, level)()
    )
    _rename_model(source, target)


def _rename_model(source: Path, target: Path) -> None:
    """Rename the model that Optimum wrote to ``ONNX_FILE``, and copy its configuration files."""
    [written] = target.glob("*.onnx")
    written.rename(target / ONNX_FILE)
    for file in source.glob("*.json"):
        if not (target / file.name).exists() and file.name != DIGEST_FILE:
            (target / file.name).write_bytes(file.read_bytes())
