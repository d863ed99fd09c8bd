"""A network of your own: a module in a folder of RUNNER_MODELS, with the functions `build` and `inputs`.

RUNNER_MODELS=examples/own-model/my_models runner model=python model.name=two_towers backend=torch,ort,openvino
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoTowers(nn.Module):
    """Embeds a user and an item, and scores the pair."""

    def __init__(self, users: int, items: int, width: int) -> None:
        """Make the layers."""
        super().__init__()
        self.users = nn.Embedding(users, width)
        self.items = nn.Embedding(items, width)
        self.score = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Return a score for each pair, samples × 1, from the numbers of users and items."""
        return self.score(torch.cat([self.users(user), self.items(item)], dim=1))


def build(users: int = 1000, items: int = 5000, width: int = 64) -> nn.Module:
    """Return the network; `model.config.width=128` on the command line changes an argument."""
    return TwoTowers(users, items, width)


def inputs(batch: int) -> dict[str, Tensor]:
    """Return values that the network meets, for so many samples."""
    return {"user": torch.randint(1000, (batch,)), "item": torch.randint(5000, (batch,))}
