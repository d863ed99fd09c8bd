"""A model that generates text in ONNX Runtime, with Optimum's class around the session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from generation import Generator  # type: ignore[import-not-found]  # beside this file
from optimum.onnxruntime import ORTModelForCausalLM
from plain_runtime import session_options  # type: ignore[import-not-found]  # beside this file


class Model(Generator):  # type: ignore[misc]  # its file is copied beside this one
    """A session, and the loop that calls it for each token."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Open a session for the graph in a folder."""
        torch.set_num_threads(1)  # PyTorch only chooses tokens: more threads would take the runtime's cores
        opened = ORTModelForCausalLM.from_pretrained(
            folder, file_name=settings["file"], session_options=session_options(settings), local_files_only=True
        )
        super().__init__(opened, settings)
