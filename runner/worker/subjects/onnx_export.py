"""The network as ONNX: ONNX Runtime runs it, and OpenVINO converts it."""

from __future__ import annotations

from pathlib import Path

from runner.worker.artifacts.cache import Recipe, package_versions
from runner.worker.subjects.models import Network

ONNX_FILE = "model.onnx"
INPUT, OUTPUT = "images", "logits"
EXPORT_VERSION = 1
"""Part of the cache key. Increment it when the way of exporting changes: cached exports become invalid."""


def onnx_recipe(network: Network, batch_size: int) -> Recipe:
    """Return the recipe of a network's ONNX export, with a dynamic batch dimension.

    Args:
        network: the network to export.
        batch_size: of the example input for tracing; the exported graph takes any from 1 to 4096.
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
