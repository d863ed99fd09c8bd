"""A configuration starts, loads and sets only what closed lists name."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.config.execution_checks import check_execution
from tests.config.conftest import composed

pytestmark = pytest.mark.usefixtures("hydra_context")


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("allocator.libraries=[/tmp/evil.so]", "allocator.libraries"),
        ("allocator.libraries=[../evil.so]", "allocator.libraries"),
        ("threading.libraries=[evil/libiomp5.so]", "threading.libraries"),
        ("allocator.libraries=[hostname]", "allocator.libraries"),
        ("backend.environment=/bin", "backend.environment"),
        ("backend.environment=../../evil", "backend.environment"),
        ("threading.prefix=[-c, 'import os']", "threading.prefix"),
        ("threading.prefix=[-m, evil]", "threading.prefix"),
        ("threading.prefix=[-m, torch.backends.xeon.run_cpu, /tmp/evil]", "threading.prefix"),
        ("threading.prefix=[-m, torch.backends.xeon.run_cpu, '--log-path=/tmp/x']", "threading.prefix"),
        ("+backend.env.PYTHONPATH=/tmp", "backend.env"),
        ("+backend.env.LD_PRELOAD=/tmp/evil.so", "backend.env"),
        ("+allocator.env.LD_LIBRARY_PATH=/tmp", "allocator.env"),
        ("+hugepages.env.PATH=/tmp", "hugepages.env"),
        ("+threading.env.PYTHONSTARTUP=/tmp/x.py", "threading.env"),
    ],
)
def test_everything_else_is_a_mistake(override, field):
    """One line that names the field, before anything is launched."""
    [mistake] = check_execution(composed(override))
    assert mistake.field == field


@pytest.mark.parametrize("override", ["threading=xeon_run_cpu", "backend=ipex", "allocator=tcmalloc", "hugepages=thp"])
def test_options_of_this_program_are_none(override):
    """And so are settings of a runtime."""
    assert check_execution(composed(override, "+backend.env.ONEDNN_MAX_CPU_ISA=AVX2")) == []


def test_a_cache_that_everybody_can_write_is_refused(tmp_path: Path):
    """Its artifacts are loaded: somebody else could exchange them."""
    config = composed(f"cache_dir={tmp_path / 'cache'}")
    assert check_execution(config) == []
    (tmp_path / "cache").mkdir()
    assert check_execution(config) == []
    (tmp_path / "cache").chmod(0o777)
    assert [mistake.field for mistake in check_execution(config)] == ["cache_dir"]
