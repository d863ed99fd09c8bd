"""Libraries that need care when they are imported."""

from __future__ import annotations

import importlib.util
import logging
import sys
from functools import cache
from pathlib import Path
from typing import Any


def import_openvino() -> Any:
    """Return the package ``openvino``.

    On import, OpenVINO and NNCF would report usage over the network. Both work without the module that does so.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None blocks an import
    import openvino

    return openvino


def quiet_nncf() -> Any:
    """Return the package ``nncf``, which then logs errors only."""
    import_openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


@cache
def prepare_transformers() -> None:
    """Make ``import transformers`` and ``import optimum`` possible, and a fifth shorter.

    Transformers imports scikit-learn if it finds it, for assisted decoding with a changing threshold, which nothing
    here uses. That takes 1.4 of 6.5 s and 106 MiB in every process, also in those whose memory is measured.
    """
    declare_torchvision_operators()
    hidden = {"sklearn"} - sys.modules.keys()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # None blocks an import
    try:
        import transformers  # noqa: F401  # it looks once for what is installed
    finally:
        for name in hidden:
            del sys.modules[name]


@cache
def declare_torchvision_operators() -> None:
    """Make ``import torchvision`` possible with a CPU build of PyTorch.

    torchvision's wheel on PyPI is built for CUDA. With a CPU build of PyTorch its C++ library does not load, and its
    import fails when it registers fake implementations of operators that are not defined. Declaring the schemas is
    enough for classification models, which use none of these operators.
    """
    import torch
    from torch import library

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return  # not installed: importing it reports that
    try:
        torch.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:  # built for another PyTorch
        declared = library.Library("torchvision", "DEF")
        declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _keep_alive.append(declared)


_keep_alive: list[Any] = []
"""Library objects: a declaration is valid as long as its object exists."""
