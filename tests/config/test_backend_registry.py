"""The backends and their options, as parsed from the source files."""

from __future__ import annotations

import pytest

from runner.config import backend_registry
from runner.protocol import BACKENDS_VARIABLE
from tests.config.conftest import OPTIONS, composed

pytestmark = pytest.mark.usefixtures("hydra_context")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("backend=")])
def test_backend_options_are_keywords_of_its_constructor(option):
    """A backend's file lists exactly the options of its constructor, with the same defaults."""
    config = composed(option)
    known = backend_registry.backends()[config.backend.name].options
    assert config.backend.options == {name: option.default for name, option in known.items()}


def test_names_are_those_of_the_backends(monkeypatch):
    """Modules without a backend, such as the abstract one in base.py, are not listed."""
    monkeypatch.delenv(BACKENDS_VARIABLE, raising=False)
    backend_registry.backends.cache_clear()
    try:
        assert list(backend_registry.backends()) == ["ipex", "openvino", "ort", "torch"]
    finally:
        backend_registry.backends.cache_clear()
