"""``runner [GROUP=OPTION …] [FIELD=VALUE …]``: compose every run, check it, measure.

Hydra composes and shows (``--help``, ``--cfg``, ``--info``); expanding a sweep and running it is done here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from runner import exit_codes
from runner.config import composition, diagnostics
from runner.config.schema import RunConfig
from runner.errors import ConfigurationError, Mistake, NothingLaunched
from runner.fleet.shards import cut, parse, with_number
from runner.paths import CONF
from runner.planning.resume import Command, resumed
from runner.processes import signals
from runner.results.plan import Plan
from runner.tracking.reader import sweep_of_run


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=composition.CONFIG_NAME)
def _show(config: DictConfig) -> None:
    """Be the task that Hydra describes; ``--help``, ``--cfg`` and ``--info`` end before it is called."""


def main(arguments: Sequence[str]) -> int:
    """Run a command line without a verb, and return its exit code."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the mistake is reported below
    composition.register_schema()
    options = parse_options(arguments)
    if options.cfg or options.info or options.help or options.hydra_help or options.shell_completion:
        return _show_only(options, arguments)
    signals.install_handlers()
    try:
        return _run(options)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except ConfigurationError as error:
        return refuse(error)
    except NothingLaunched as error:
        print(f"nothing was launched: {error}", file=sys.stderr)
        return exit_codes.MISTAKE


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options and overrides of a command line, in any order."""
    parser = get_args_parser()
    parser.prog = "runner"
    parser.add_argument("--dry-run", action="store_true", help="compose, check and estimate; launch nothing")
    parser.add_argument("--wide", action="store_true", help="print all columns of the closing table")
    return parser.parse_intermixed_args(list(arguments))


def _show_only(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Have Hydra show its help or a composed configuration; of a sweep, that of its first run."""
    flags = [word for word in arguments if word not in (*options.overrides, "--dry-run", "--wide")]
    try:
        with hydra_with(options.config_dir):
            jobs = composition.expand(options.overrides) if options.overrides else [[]]
        if len(jobs) > 1:
            print(f"this is the first of {len(jobs)} runs: {' '.join(jobs[0])}", file=sys.stderr)
        sys.argv[1:] = [*flags, *jobs[0]]
        _show()
    except composition.COMPOSITION_ERRORS as error:
        with hydra_with(options.config_dir):
            return refuse(diagnostics.diagnose(options.overrides, error))
    except ConfigurationError as error:
        return refuse(error)
    return exit_codes.OK


def _run(options: argparse.Namespace) -> int:
    """Compose and check every run; then measure, or only list them."""
    command = command_of(options)
    if command.search:
        raise NothingLaunched(f"{command.value('resume')} is a search: continue it by runner resume NAME")
    plans, target = compose(command)
    if (text := plans[0].config.shard) is not None:
        if any(plan.part for plan in plans):
            allowed = "null with aa or ablate: their runs are compared with one another"
            raise ConfigurationError([Mistake("shard", text, allowed)])
        shard, count = parse(text, os.environ), len(plans)
        plans = cut(plans, shard)
        print(f"shard {shard}: {len(plans)} of {count} runs", file=sys.stderr)
        if not plans:
            return exit_codes.OK
    if options.dry_run:
        from runner.reporting.dry_run import print_dry_run

        print_dry_run(plans)
        return exit_codes.OK
    return measure(command, plans, target, wide=options.wide)


def command_of(options: argparse.Namespace) -> Command:
    """Return the command that a command line stands for; one that resumes a sweep is that of the sweep.

    Raises:
        ConfigurationError: there is no such sweep, or an option is not allowed.
    """
    if other := options.config_name or options.config_path:
        allowed = "this program's own: --config-dir adds a folder with groups"
        raise ConfigurationError([Mistake("--config-name and --config-path", other, allowed)])
    folder = options.config_dir
    command = Command(list(options.overrides), str(Path(folder).absolute()) if folder else None)
    output_dir = Path(command.value("output_dir") or RunConfig.output_dir)
    return resumed(with_number(command), lambda run_id: sweep_of_run(run_id, output_dir))


def compose(command: Command) -> tuple[list[Plan], Path]:
    """Return the plan of every run of a command, and the folder for a new sweep.

    Raises:
        ConfigurationError: the command contains mistakes; it holds all of them.
    """
    from runner.planning.plans import make_plans

    composition.register_schema()
    with hydra_with(command.config_dir):
        try:
            composition.refuse_code([word for words in (command.overrides, *command.jobs) for word in words])
            jobs = [[*job, *command.overrides] for job in command.jobs] or composition.expand(command.overrides)
            return make_plans(jobs), composition.sweep_folder(jobs[0])
        except composition.COMPOSITION_ERRORS as error:
            raise diagnostics.diagnose(command.overrides, error) from error


def measure(command: Command, plans: Sequence[Plan], target: Path, *, wide: bool = False) -> int:
    """Measure a composed command and return its exit code.

    Raises:
        NothingLaunched: another measurement runs on this machine, or the sweep's folder cannot be written.
    """
    from runner.measuring.session import run_session
    from runner.reporting.progress import BrokenPipeSafeConsole

    return run_session(command, plans, target, BrokenPipeSafeConsole(), wide=wide)


@contextmanager
def hydra_with(config_dir: str | None) -> Iterator[None]:
    """Initialise Hydra with the program's configuration and the folder that the command line adds."""
    Plugins.instance()  # Hydra imports its plugins again when it first looks for them
    from hydra_plugins.runner_plugins import ConfigDirectory

    ConfigDirectory.folder = config_dir
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        ConfigDirectory.folder = None  # Hydra itself adds it when it shows something


def refuse(error: ConfigurationError) -> int:
    """Print every mistake, one line each, and return the exit code."""
    count = len(error.mistakes)
    print(f"{count} mistake{'s' if count > 1 else ''} in the configuration, nothing was launched:", file=sys.stderr)
    for mistake in error.mistakes:
        print(f"  {mistake}", file=sys.stderr)
    return exit_codes.MISTAKE
