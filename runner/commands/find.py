"""``runner find GROUP=OPTION … goal=GOAL BOUND … budget=30m``: the best configuration under bounds."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from runner import exit_codes, run
from runner.config import composition, diagnostics
from runner.config.durations import in_words
from runner.errors import ConfigurationError, Mistake, NothingLaunched
from runner.machine.facts import this_machine
from runner.planning.resume import Command
from runner.processes import signals
from runner.processes.launch import build_launches
from runner.results.plan import Plan
from runner.results.status import RunFailed
from runner.searching.bounds import GOALS, QUANTITIES
from runner.searching.space import Space, drawn, read_space
from runner.searching.words import Request, check_for_model, parse

MAX_CANDIDATES = 400
"""Of a larger space so many are drawn at random: composing one takes 0.1 s, and few budgets see as many."""
SEED = 0
"""Of the drawing: a resumed search draws the same."""
MEASURE = "measure=quick"
"""How candidates are raced unless the command line says otherwise."""


def main(arguments: Sequence[str]) -> int:
    """Find the best configuration under bounds, within a budget of time, and prove it at the end."""
    start = time.monotonic() - _age_s()
    parser = argparse.ArgumentParser(
        prog="runner find",
        description=main.__doc__,
        epilog=f"Goals: {', '.join(GOALS)}. Bounds: {', '.join(QUANTITIES)}.",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="goal=GOAL, bounds such as 'latency_p99_ms<=60', budget=30m, space=small, wide or a file, "
        "confirm=publish, standard or quick; and settings, which narrow the space",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the space and the plan; launch nothing")
    parser.add_argument("--wide", action="store_true", help="print all columns of the closing table")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder with further groups")
    options = parser.parse_intermixed_args(list(arguments))
    folder = str(Path(options.config_dir).absolute()) if options.config_dir else None
    return _find(lambda: parse(_without_resume(options.words)), folder, start, options)


def _without_resume(words: Sequence[str]) -> Sequence[str]:
    """Return the words of a new search.

    Raises:
        ConfigurationError: one asks to resume another.
    """
    for word in words:
        if word.startswith("resume="):
            raise ConfigurationError([Mistake("resume", word, "words of a new search", "Take runner resume NAME")])
    return words


def resume(command: Command, options: argparse.Namespace) -> int:
    """Continue the search of a stored command; what was dropped stays dropped.

    Args:
        command: of the sweep.
        options: `dry_run` and `wide`, as the command line gave them.
    """
    words = [*command.search, *command.overrides]
    return _find(lambda: parse(words), command.config_dir, time.monotonic() - _age_s(), options)


def _find(request: Callable[[], Request], config_dir: str | None, start: float, options: argparse.Namespace) -> int:
    """Prepare a search, and describe or run it; return the exit code."""
    signals.install_handlers()
    try:
        if options.dry_run:
            _describe(prepare(request(), config_dir, quickly=True))
            return exit_codes.OK
        return search(prepare(request(), config_dir), start, wide=options.wide)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except ConfigurationError as error:
        return run.refuse(error)
    except NothingLaunched as error:
        print(f"nothing was launched: {error}", file=sys.stderr)
        return exit_codes.MISTAKE


@dataclass(frozen=True)
class Prepared:
    """A search whose candidates are composed and checked."""

    request: Request
    command: Command
    space: Space
    plans: list[Plan]
    refused: Counter[str]
    """Why combinations are not possible here, and how many."""


def prepare(request: Request, config_dir: str | None, *, quickly: bool = False) -> Prepared:
    """Compose the combinations of the space, and leave out what is not possible here.

    Args:
        request: goal, bounds, space and settings.
        config_dir: a folder with further groups.
        quickly: compose one combination for each choice of axes only, to describe the space.

    Raises:
        ConfigurationError: goal, bounds, space or settings hold mistakes, or there is nothing to search.
    """
    from runner.planning.plans import possible_plans

    composition.register_schema()
    folder = Path(config_dir) if config_dir else None
    with run.hydra_with(config_dir):
        try:
            composition.refuse_code(request.overrides)
            space = read_space(request.space, request.overrides, folder)
            chosen = space.representatives if quickly else drawn(space, MAX_CANDIDATES, SEED)
            jobs = [_words(request, space, own) for own in chosen]
            plans, refused = possible_plans(jobs)
        except composition.COMPOSITION_ERRORS as error:
            raise diagnostics.diagnose(request.overrides, error) from error
    if not plans:
        raise ConfigurationError([mistake for _, mistakes in refused for mistake in mistakes][:3])
    if mistakes := check_for_model(request, plans[0].config):
        raise ConfigurationError(mistakes)
    reasons = Counter(str(mistakes[0]) for _, mistakes in refused if mistakes)
    possible = []
    for plan in plans:
        if reason := _impossible(plan):
            reasons[reason] += 1
        else:
            possible.append(plan)
    if not quickly or len(space.combinations) == len(chosen):
        _check_size(request, space, possible, reasons)
    own = [word for word in request.words() if word not in request.overrides]
    command = Command(list(request.overrides), config_dir, search=own)
    return Prepared(request, command, space, possible, reasons)


def search(prepared: Prepared, start: float, *, wide: bool) -> int:
    """Run a prepared search and return its exit code.

    Args:
        prepared: the candidates.
        start: of the command, by the monotonic clock.
        wide: whether the closing table has all columns.

    Raises:
        NothingLaunched: another measurement runs on this machine, or the folder cannot be written.
    """
    from runner.measuring.session import run_session
    from runner.planning.plans import make_plans
    from runner.reporting.progress import BrokenPipeSafeConsole
    from runner.results.store import SweepStore
    from runner.searching.answer import lines
    from runner.searching.search import Search
    from runner.searching.surrogate import promising

    console = BrokenPipeSafeConsole()
    config_dir, plans = prepared.command.config_dir, prepared.plans

    def compose(jobs: Sequence[Sequence[str]]) -> list[Plan]:
        with run.hydra_with(config_dir):
            return make_plans(jobs)

    def sweep_of(store: SweepStore) -> Search:
        request = prepared.request
        return Search(
            store,
            plans,
            console,
            request=request,
            compose=compose,
            conclude=lines,
            promising=promising,
            drawn_from=total if (total := len(prepared.space.combinations)) > MAX_CANDIDATES else 0,
            start=start,
        )

    with run.hydra_with(config_dir):
        target = composition.sweep_folder(plans[0].overrides)
    return run_session(prepared.command, plans, target, console, wide=wide, sweep_of=sweep_of)


def _words(request: Request, space: Space, own: Sequence[str]) -> list[str]:
    """Return the words of one candidate: the baseline of all is the same."""
    words = [*own, *space.fixed]
    if not any(word.startswith("measure=") for word in request.overrides):
        words.append(MEASURE)
    if not space.added:
        return words
    first = {word.partition("=")[0]: word for word in reversed([w for one in space.combinations for w in one])}
    baseline = list(composition.compose_settings(words).baseline)
    kept = [*baseline, *(first[name] for name in space.added if name in first)]
    return [*words, "baseline=[" + ",".join(f"'{word}'" for word in kept) + "]"]


def _impossible(plan: Plan) -> str:
    """Return why a combination cannot run here: unsupported, or something is not installed; empty if it can."""
    try:
        build_launches(plan.config, this_machine(), os.environ)
    except RunFailed as failure:
        return failure.reason
    return ""


def _check_size(request: Request, space: Space, plans: Sequence[Plan], reasons: Counter[str]) -> None:
    """Check that there is something to search, and time for it.

    Raises:
        ConfigurationError: there is not.
    """
    if len(plans) < 2:
        why = f"; {len(space.combinations)} combinations, of which others cannot run here" if reasons else ""
        allowed = "at least two combinations that can run here"
        remedy = f"Give a choice, such as backend=ort,openvino; or measure one by runner{why}"
        raise ConfigurationError([Mistake("space", f"{len(plans)} combination", allowed, remedy)])
    measure = plans[0].config.measure
    least = 2 * measure.rounds * 2 * max(measure.slice_s, 0.1) + 2 * measure.warmup_tolerance
    if request.budget_s < max(least, MIN_BUDGET_S):
        allowed = f"at least {in_words(max(least, MIN_BUDGET_S))}, which one replicate and its start take"
        raise ConfigurationError([Mistake("budget", in_words(request.budget_s), allowed)])


MIN_BUDGET_S = 10.0
"""Less than what the processes of one replicate take to start."""


def _describe(prepared: Prepared) -> None:
    """Print the space and the plan."""
    console, request = Console(soft_wrap=True), prepared.request

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    total = len(prepared.space.combinations)
    bounds = f" under {', '.join(map(str, request.bounds))}" if request.bounds else ""
    say(f"goal: {request.goal} ({'more' if request.maximises else 'less'} is better){bounds}")
    drawing = f", of which {MAX_CANDIDATES} are drawn at random" if total > MAX_CANDIDATES else ""
    say(f"space {request.space}: {total} combinations{drawing}")
    for name, values in _axes(prepared.space.combinations).items():
        say(f"  {name}: {', '.join(values)}")
    for reason, count in prepared.refused.most_common():
        choices = "choice" if count == 1 else "choices"
        say(f"  {count} of {len(prepared.space.representatives)} {choices} left out: {reason}")
    say(
        f"plan: within {in_words(request.budget_s)}, races of a few candidates beside the best so far; then the best "
        f"two afresh with measure={request.confirm}, and what each setting contributes. Nothing was launched"
    )


def _axes(combinations: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for words in combinations:
        for word in words:
            name, _, value = word.partition("=")
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values for name, values in found.items() if len(values) > 1}


def _age_s() -> float:
    """Return the seconds since this process was started: composing is part of the budget."""
    ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
