"""The network as ONNX: what ONNX Runtime runs, and what OpenVINO converts."""

from __future__ import annotations

from pathlib import Path

from runner.worker.artifacts.cache import Recipe, package_versions
from runner.worker.subjects.models import Network

ONNX_FILE = "model.onnx"
INPUT, OUTPUT = "images", "logits"
EXPORT_VERSION = 1
"""Raised when the way of exporting changes, so that cached exports are no longer found."""


def onnx_recipe(network: Network, batch_size: int) -> Recipe:
    """Return how a network is exported with a dynamic batch.

    Args:
        network: what is exported.
        batch_size: of the example that is traced; the exported graph takes any.
    """

    def build(folder: Path) -> None:
        import torch

        example = torch.zeros(max(2, batch_size), 3, network.image_size, network.image_size)
        torch.onnx.export(
            network.module(),
            (example,),
            folder / ONNX_FILE,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            external_data=False,
            verbose=False,
        )

    key = {
        "network": network.key,
        "packages": package_versions("torch", "onnx", "onnxscript", "onnx-ir"),
        "version": EXPORT_VERSION,
    }
    return Recipe("onnx", key, build)
