"""The model in ONNX Runtime, with the options of the measured session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime


def session_options(settings: dict[str, Any]) -> Any:
    """Return the options of the measured session."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings["graph_optimization"])
    options.execution_mode = getattr(onnxruntime.ExecutionMode, settings["execution_mode"])
    for name in ("intra_op_num_threads", "inter_op_num_threads"):
        if settings[name] is not None:
            setattr(options, name, settings[name])
    for name, value in settings["config"].items():
        options.add_session_config_entry(name, value)
    return options


class Model:
    """An inference session."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Open a session for the graph in a folder."""
        path, options = folder / settings["file"], session_options(settings)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]

    def bind(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """Return a step that runs a batch."""
        feed = {name: inputs[name] for name in self._inputs}
        return lambda: self._session.run(None, feed)

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs by name."""
        return dict(zip(self._outputs, self.bind(inputs)(), strict=True))
