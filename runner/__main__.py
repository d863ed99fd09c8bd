"""Hydra's entry: compose, validate, run. ``python -m runner [-m] [GROUP=OPTION …] [FIELD=VALUE …]``.

The runs themselves begin in :class:`hydra_plugins.runner_plugins.RunSweeper`, for one run as for many.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from runner import compose
from runner.config import PROJECT, ConfigurationError, Mistake
from runner.lock import MachineBusy

CONF = PROJECT / "conf"
EXIT_MISTAKE, EXIT_INTERRUPTED = 2, 130


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=compose.CONFIG_NAME)
def app(config: DictConfig) -> None:  # noqa: ARG001 -- Hydra asks for a function of one argument
    """Stand where Hydra wants a task: the configuration's hydra.mode sends every command to the sweeper."""
    raise ConfigurationError([Mistake("hydra.mode", "RUN", "MULTIRUN", "One run is a sweep of one: leave it out")])


def main() -> None:
    """Run the command line; a mistake in it ends with one line each and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the mistake is told below
    compose.register_schema()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end: as with Ctrl-C, nothing is left behind
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except ConfigurationError as error:
        _refuse(error)
    except MachineBusy as error:
        print(f"nothing was launched: {error}", file=sys.stderr)
        sys.exit(EXIT_MISTAKE)
    except compose.COMPOSITION_ERRORS as error:
        from hydra_plugins.runner_plugins import ConfigDirectory

        arguments = get_args_parser().parse_args()
        ConfigDirectory.folder = arguments.config_dir
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            _refuse(compose.diagnose(arguments.overrides, error))


def _refuse(error: ConfigurationError) -> NoReturn:
    count = len(error.mistakes)
    print(f"{count} mistake{'s' if count > 1 else ''} in the configuration, nothing was launched:", file=sys.stderr)
    for mistake in error.mistakes:
        print(f"  {mistake}", file=sys.stderr)
    sys.exit(EXIT_MISTAKE)


if __name__ == "__main__":
    main()
