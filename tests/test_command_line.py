"""The entry: verbs, their help, a mistyped one, and options in any place."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runner.__main__ import RUN, verbs
from runner.paths import CONF, PROJECT
from tests.conftest import FAKE, TESTS

OLDER_FORMS = ("runner.report", "runner.machine", "runner.cache", "runner.tracking", "runner.provision")
HEAVY = ("torch", "mlflow", "pandas", "scipy", "matplotlib")


def runner(*words: str, module: str = "runner", cwd=PROJECT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=variables or None)


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb != RUN])
def test_every_verb_has_its_help_and_is_in_the_program_s(verb):
    """Named by what one types."""
    done = runner(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: runner {verb} ")
    assert f" {verb}" in (CONF / "config.yaml").read_text()


@pytest.mark.parametrize("module", OLDER_FORMS)
def test_the_older_forms_still_work(module):
    """``python -m runner.report`` and the like."""
    words = ["sync", "--help"] if module == "runner.tracking" else ["--help"]
    done = runner(*words, module=module)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: runner ")


def test_the_help_of_a_sweep_is_that_of_its_first_run():
    """And its mistakes are told as without --help."""
    done = runner("backend=ort,torch", "--help")
    assert (done.returncode, done.stderr) == (0, "this is the first of 2 runs: backend=ort\n")
    assert "name: ort" in done.stdout
    done = runner("backend=ort,nothing", "batch=3", "--help")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_mistyped_verb_is_reported_with_the_nearest():
    """One line, exit code 2."""
    done = runner("reprot")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("runner: received 'reprot'; allowed: cache, ")
    assert done.stderr.endswith("Did you mean report?\n")


def test_a_verb_loads_nothing_heavy_to_answer():
    """Its help, and a mistake, are there at once."""
    program = (
        "import sys, importlib; from runner.__main__ import module_of, verbs; "
        "[importlib.import_module(module_of(verb)) for verb in verbs()]; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_options_may_be_anywhere(environment, tmp_path):
    """``-m`` behind or between the overrides too; --dry-run lists every run, and nothing is launched or written."""
    fake = [word for word in FAKE if word != "backend=fake"]
    words = ["backend=fake", "-m", *fake, "--dry-run", "batch_size=4,8", f"output_dir={tmp_path / 'outputs'}"]
    done = runner(*words, "--config-dir", str(TESTS / "conf"), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "dry run: 2 runs, " in done.stdout
    assert "2 runs to measure: " in done.stdout
    assert "nothing was launched" in done.stdout
    assert not (tmp_path / "outputs").exists()


def test_a_dry_run_reports_mistakes():
    """Exit code 2, all of them."""
    done = runner("--dry-run", "backend=opnvino", "batch_size=abc")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 mistakes in the configuration, nothing was launched" in done.stderr
    assert "Did you mean backend=openvino?" in done.stderr


@pytest.mark.parametrize("verb", [[], ["report"], ["sync"]], ids=["none", "report", "sync"])
def test_the_log_level_is_an_option_of_every_verb(verb):
    """Of the host's own log; an unknown level is refused."""
    done = runner(*verb, "--log-level", "loud")
    assert done.returncode == 2
    assert "invalid choice: 'loud'" in done.stderr
    done = runner("--log-level", "info", *verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_configuration_is_shown_by_hydra():
    """Whatever order its options have."""
    done = runner("backend=ort", "--cfg", "job", "batch_size=4")
    assert done.returncode == 0
    assert "name: ort\n" in done.stdout
    assert "batch_size: 4\n" in done.stdout
