"""Libraries that need care when they are imported."""

from __future__ import annotations

import logging
import sys
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
