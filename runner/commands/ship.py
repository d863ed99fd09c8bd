"""``runner ship SWEEP[/ROW] --to FOLDER``: a measured row as a folder that runs without this program."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runner import exit_codes, run
from runner.config.redaction import hide_in_text
from runner.config.schema import RunConfig, TrackingConfig
from runner.errors import ConfigurationError, NothingLaunched
from runner.machine.facts import this_machine
from runner.machine.lock import measurement_lock
from runner.paths import SHIPPED
from runner.planning.again import command_again
from runner.processes import signals
from runner.processes.launch import WorkerLaunch, build_launches
from runner.results.locate import LAST, sweep_folders
from runner.results.plan import Plan
from runner.results.status import RunFailed
from runner.results.store import sweep_id_of
from runner.results.stored_sweep import read_sweep
from runner.shipping import environment
from runner.shipping.choice import FIELD, FLAGS, Chosen, check, find_row
from runner.shipping.folder import SERVER_PACKAGES, NotShipped, Order, read_facts, write_folder
from runner.shipping.packages import closure
from runner.shipping.verify import Check, Installed, State, check_files, check_outputs, check_speed
from runner.tracking.client import TrackingError, tracking_uri
from runner.tracking.model_format import LOADER, write_model
from runner.tracking.reader import sweep_of_run
from runner.tracking.registry import register

PAIRS, SECONDS = 5, 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what a service needs to run a measured row, or prove that such a folder is what was measured."""
    options = _parse(arguments)
    signals.install_handlers()
    try:
        return _verify(options) if options.verify else _ship(options)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"ship: {mistake}", file=sys.stderr)
    except (LookupError, NothingLaunched, NotShipped) as error:
        print(f"ship: {error.args[0]}", file=sys.stderr)
    except TrackingError as error:
        print(f"ship: {hide_in_text(str(error))}", file=sys.stderr)
        return exit_codes.FAILED
    except RunFailed as failure:
        print(f"ship: {failure.status}: {failure.reason}", file=sys.stderr)
        return exit_codes.FAILED
    except OSError as error:
        print(f"ship: {error.filename or 'the folder'} cannot be written: {error.strerror}", file=sys.stderr)
        return exit_codes.FAILED
    return exit_codes.MISTAKE


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runner ship", description=main.__doc__)
    parser.add_argument(
        "row",
        nargs="?",
        default=LAST,
        metavar=FIELD,
        help="last, or a sweep's folder, name, prefix of its name or MLflow run id; behind a slash a row's number, "
        "folder or label. Without one it is the row of the answer",
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="the folder to write; one shipped before is replaced")
    parser.add_argument("--verify", type=Path, metavar="FOLDER", help="prove that this folder is what was measured")
    parser.add_argument("--server", action="store_true", help="add serve.py, an HTTP server")
    parser.add_argument(
        "--mlflow", type=Path, metavar="FOLDER", help="write MLflow's model format too, into this folder"
    )
    parser.add_argument(
        "--register", metavar="NAME", help="with --mlflow: add it to the row's run, and to MLflow's registry as NAME"
    )
    parser.add_argument(
        "--uri", help="with --register: the store; MLFLOW_TRACKING_URI or that in --output-dir by default"
    )
    for flag, meaning in FLAGS.items():
        parser.add_argument(f"--allow-{flag}", action="append_const", dest="allowed", const=flag, help=meaning)
    parser.add_argument(
        "--pairs",
        type=int,
        default=PAIRS,
        help="with --verify: fresh pairs of processes; 0 compares no speed (%(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="with --verify: timed seconds of each process (%(default)s)"
    )
    parser.add_argument("--output-dir", default=RunConfig.output_dir, type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if (options.to is None) == (options.verify is None):
        parser.error("received neither or both; allowed: --to FOLDER, or --verify FOLDER")
    if options.mlflow:
        places = [one.resolve() for one in (options.mlflow, options.to or options.mlflow)]
        apart = places[0] not in (places[1], *places[1].parents) and places[1] not in places[0].parents
        if not apart or _is_foreign(options.mlflow):
            parser.error("--mlflow: allowed: with --to, a new folder beside it, or one that --mlflow wrote before")
    if (options.register is not None and not options.mlflow) or options.register == "":
        parser.error("--register: allowed: a name, with --mlflow FOLDER")
    if options.pairs < 0 or options.pairs == 1 or options.seconds <= 0:
        parser.error("--pairs takes 0, or 2 and more: an interval needs two; --seconds a positive number")
    return options


def _is_foreign(folder: Path) -> bool:
    """Return whether something exists there that is not of this command."""
    file = folder / "MLmodel"
    return folder.exists() and not (file.is_file() and LOADER in file.read_text(encoding="utf-8"))


def _ship(options: argparse.Namespace) -> int:
    """Write the folder.

    Raises:
        ConfigurationError, LookupError, NotShipped, RunFailed, OSError: nothing was written.
    """
    chosen = find_row(options.row, options.output_dir, lambda run_id: sweep_of_run(run_id, options.output_dir))
    allowed = options.allowed or ()
    flaws = check(chosen.run.result, allowed, this_machine().machine_class)
    if options.server:
        _require_server_packages()
    plan, launches = _again(chosen, options.output_dir)
    order = Order(
        chosen,
        plan.config,
        launches[0],
        flaws,
        allowed,
        options.server,
        same_program=plan.fingerprint == chosen.run.result.fingerprint,
        cores=[one.job.expectations.cores for one in launches],
    )
    print(f"ship: {chosen.run.result.label}, of {chosen.run.folder}")
    with measurement_lock(wait=False, report=print, remedy="ship it later"):
        write_folder(order, options.to)
    if options.mlflow:
        write_model(options.to, SHIPPED / f"{LOADER}.py", read_facts(options.to) or {}, options.mlflow)
        print(f"{options.mlflow} is written: mlflow models serve --model-uri {options.mlflow}")
    if options.register:
        uri = tracking_uri(TrackingConfig(uri=options.uri), options.output_dir)
        sweep, row = sweep_id_of(chosen.sweep.folder), chosen.run.folder.name
        print(f"{register(options.mlflow, options.register, uri, sweep, row)} is registered")
    start = " ".join([*environment.prefix(launches[0]), "python"])
    print(f"{options.to} is written. To start it there:")
    print("    python -m venv venv && . venv/bin/activate && pip install -r requirements.txt")
    print(f"    . ./environment.sh && {start} run.py --check")
    print(f"runner ship --verify {options.to} does so in a folder of its own, and compares the speed")
    return exit_codes.OK


def _require_server_packages() -> None:
    """Check that the packages of serve.py are installed here: their versions are those of the folder.

    Raises:
        NotShipped: one is not.
    """
    try:
        closure(SERVER_PACKAGES)
    except ImportError as error:
        raise NotShipped(f"--server needs the package {error.name}: run pip install '.[serve]'") from error


def _again(chosen: Chosen, output_dir: Path) -> tuple[Plan, list[WorkerLaunch]]:
    """Return the plan of a row as it would be measured now, and the launches of its instances.

    Raises:
        ConfigurationError, LookupError: its command line is not stored, or does not hold any more.
        RunFailed: something that it needs is not installed.
    """
    command = command_again([chosen.run], output_dir, chosen.sweep.config_dir)
    plans, _ = run.compose(command)
    # Those of an ablation have one candidate, and differ in their baselines.
    plan = next((one for one in plans if one.fingerprint == chosen.run.result.fingerprint), plans[0])
    return plan, build_launches(plan.config, this_machine(), os.environ)


@dataclass(frozen=True)
class _Recorded:
    """The row that a folder was made of."""

    plan: Plan
    launch: WorkerLaunch
    weights: str
    """Digest of the weights that were shipped."""


def _verify(options: argparse.Namespace) -> int:
    """Compare a folder with its record, and print what was found.

    Raises:
        NotShipped: it is no shipped folder.
        NothingLaunched: another measurement runs on this machine.
        RunFailed: the measured process failed.
    """
    folder: Path = options.verify
    facts = read_facts(folder)
    if facts is None:
        raise NotShipped(f"--verify: {folder} has no model.json of runner ship; allowed: a folder that it wrote")
    recorded = _recorded(facts, options.output_dir)
    checks = [check_files(folder, facts)]
    if checks[0].state is State.passed:
        with measurement_lock(wait=False, report=print, remedy="verify it later"):
            checks += _run_checks(folder, facts, recorded, options)
    table = Table(title=escape(f"{folder}: {facts['label']}"))
    for name in ("what", "state", "found"):
        table.add_column(name, overflow="fold")
    for one in checks:
        table.add_row(one.what, one.state, escape(one.words))
    Console().print(table)
    return exit_codes.FAILED if any(one.state is State.failed for one in checks) else exit_codes.OK


def _run_checks(
    folder: Path, facts: dict[str, Any], recorded: _Recorded | None, options: argparse.Namespace
) -> Iterator[Check]:
    """Yield what was found by running the folder in an environment of its own."""
    prefix = environment.prefix(recorded.launch) if recorded else []
    with tempfile.TemporaryDirectory(prefix="runner-verify-") as work:
        print("installing requirements.txt in an environment of its own", file=sys.stderr)
        try:
            installed = Installed(folder, Path(work), prefix)
        except subprocess.SubprocessError as error:
            last = (str(getattr(error, "stderr", "") or error).strip().splitlines() or ["nothing"])[-1]
            yield Check("packages", State.failed, f"requirements.txt cannot be installed: {last}")
            return
        yield Check("packages", State.passed, "requirements.txt is installed, without this program")
        yield check_outputs(installed)
        if recorded is None:
            where = options.output_dir / "sweeps"
            yield Check("speed", State.skipped, f"the sweep {facts['record']['sweep']} is not in {where}")
        elif not options.pairs:
            yield Check("speed", State.skipped, "--pairs 0")
        else:
            yield _speed(installed, recorded, Path(work), options)
        if facts["record"]["machine_class"] != this_machine().machine_class:
            measured = facts["record"]["machine_class"]
            yield Check("machine", State.skipped, f"the numbers of REPORT.md are of {measured}; this is another kind")


def _speed(installed: Installed, recorded: _Recorded, work: Path, options: argparse.Namespace) -> Check:
    try:
        return check_speed(
            installed,
            recorded.launch,
            recorded.plan.config.measure,
            work / "measured.log",
            weights=recorded.weights,
            pairs=options.pairs,
            seconds=options.seconds,
            report=lambda line: print(line, file=sys.stderr),
        )
    except RuntimeError as error:
        return Check("speed", State.failed, str(error))
    except RunFailed as failure:
        return Check("speed", State.skipped, f"the measured process: {failure.status}: {failure.reason}")


def _recorded(facts: dict[str, Any], output_dir: Path) -> _Recorded | None:
    """Return the row that a folder was made of; None if its sweep is not here.

    Raises:
        ConfigurationError, LookupError, RunFailed: it cannot be measured again.
    """
    record = facts["record"]
    for folder in sweep_folders(output_dir):
        if sweep_id_of(folder) != record["sweep"]:
            continue
        sweep = read_sweep(folder)
        for one in sweep.runs:
            if one.folder.name == record["run"]:
                chosen = Chosen(sweep, one)
                plan, launches = _again(chosen, output_dir)
                return _Recorded(plan, launches[0], record["weights"])
    return None
