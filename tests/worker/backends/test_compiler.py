"""What torch.compile needs of the machine: a compiler and the headers of Python."""

from __future__ import annotations

import pytest

from runner.worker.backends.torch_module import require_compiler
from runner.worker.failures import Unavailable

pytestmark = pytest.mark.slow  # it imports torch


def test_a_missing_compiler_names_its_package(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(Unavailable, match=r"needs a C\+\+ compiler: run apt-get install g\+\+$"):
        require_compiler()


def test_missing_headers_name_their_package(monkeypatch, tmp_path):
    """Inductor would fail with the compiler's own words, minutes later."""
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(Unavailable, match=r"headers of Python: run apt-get install python3\.\d+-dev$"):
        require_compiler()
