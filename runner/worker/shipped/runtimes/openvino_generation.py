"""A model that generates text in OpenVINO, with Optimum's class around the compiled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plain_runtime  # type: ignore[import-not-found]  # noqa: F401 -- beside this file; it keeps OpenVINO off the network
import torch
from generation import Generator  # type: ignore[import-not-found]  # beside this file
from optimum.intel import OVModelForCausalLM


class Model(Generator):  # type: ignore[misc]  # its file is copied beside this one
    """A compiled model, and the loop that calls it for each token."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Read the model in a folder, and compile it."""
        torch.set_num_threads(1)  # PyTorch only chooses tokens: more threads would take the runtime's cores
        opened = OVModelForCausalLM.from_pretrained(
            folder, file_name=settings["file"], compile=False, ov_config=settings["properties"], local_files_only=True
        )
        opened.compile()
        super().__init__(opened, settings)
