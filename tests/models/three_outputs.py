"""A model as a user's Python module builds it: inputs of three types, and outputs in a dictionary with a tuple."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ThreeOutputs(nn.Module):
    """Embeds tokens, masks them, and convolves a signal."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, hidden)
        self.project = nn.Linear(hidden, hidden)
        self.convolve = nn.Conv1d(1, 4, 3)

    def forward(self, ids: Tensor, wave: Tensor, mask: Tensor) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
        hidden = self.project(self.embed(ids)) * mask.unsqueeze(-1)
        return {"hidden": hidden, "pair": (hidden.mean(1), self.convolve(wave)), "count": mask.sum(1)}


def build(hidden: int = 32) -> nn.Module:
    """Return the model."""
    return ThreeOutputs(hidden)


def inputs(batch: int) -> dict[str, Tensor]:
    """Return its arguments for so many samples."""
    return {
        "ids": torch.randint(0, 100, (batch, 12)),
        "wave": torch.randn(batch, 1, 50),
        "mask": torch.rand(batch, 12) > 0.3,
    }
