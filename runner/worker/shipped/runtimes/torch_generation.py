"""A model that generates text in PyTorch, of Transformers' classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from generation import Generator  # type: ignore[import-not-found]  # beside this file
from transformers import AutoModelForCausalLM


class Model(Generator):  # type: ignore[misc]  # its file is copied beside this one
    """A loaded checkpoint, and the loop that calls it for each token."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Load the checkpoint in a folder, in fp32."""
        if settings["threads"] is not None:
            torch.set_num_threads(settings["threads"])
        opened: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        if settings["channels_last"]:
            opened = opened.to(memory_format=torch.channels_last)
        super().__init__(opened.eval(), settings)
