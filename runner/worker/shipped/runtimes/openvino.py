"""The model in OpenVINO, with the properties of the measured one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would report usage over the network
import openvino  # noqa: E402 -- after the line above


class Model:
    """A compiled model."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Read the model in a folder, set its shapes if they are fixed, and compile it."""
        core = openvino.Core()
        found = core.read_model(folder / settings["file"])
        if settings["shapes"] is not None:
            found.reshape(settings["shapes"])
        self._compiled = core.compile_model(found, "CPU", settings["properties"])
        self._copies = settings["inputs"] == "copy"
        self._names = settings["outputs"]
        self._request = self._compiled.create_infer_request()

    def bind(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """Return a step that runs a batch in a request of its own."""
        request, feed = self._compiled.create_infer_request(), self._select(inputs)
        if self._copies:
            return lambda: request.infer(feed)
        for name, values in feed.items():
            request.set_tensor(name, openvino.Tensor(values, shared_memory=True))

        def step(_keep_alive: object = feed) -> Any:  # the tensors do not own the shared memory
            return request.infer()

        return step

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs by name."""
        self._request.infer(self._select(inputs))
        return {
            next((name for name in port.get_names() if name in self._names), port.get_any_name()): tensor.data.copy()
            for port, tensor in zip(self._compiled.outputs, self._request.output_tensors, strict=True)
        }

    def _select(self, inputs: dict[str, Any]) -> dict[str, Any]:
        names = [next(name for name in port.get_names() if name in inputs) for port in self._compiled.inputs]
        return {name: inputs[name] for name in names}
