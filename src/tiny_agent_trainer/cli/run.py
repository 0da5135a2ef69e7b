# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer run CONFIG`, `--config CONFIG` and `--resume RUN`."""

from pathlib import Path
from typing import Annotated

import typer

from tiny_agent_trainer import errors

Results = Annotated[
    Path | None,
    typer.Option("--results", metavar="DIR", help="Where the run's directory is made."),
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Where the data are, instead of root.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but the result.")]
LogJson = Annotated[
    bool, typer.Option("--log-json", help="Print what happens as JSON lines on standard output.")
]


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment's TOML file.")],
    results: Results = None,
    data: Data = None,
    quiet: Quiet = False,
    log_json: LogJson = False,
) -> None:
    """Train an experiment; the same as --config CONFIG."""
    train(config=config, resume=None, results=results, data=data, quiet=quiet, log_json=log_json)


def train(
    *,
    config: Path | None,
    resume: Path | None,
    results: Path | None,
    data: Path | None,
    quiet: bool,
    log_json: bool,
) -> None:
    """Train or continue, and say what came out."""
    if config is not None:
        from tiny_agent_trainer.config import trainer_config

        trainer_config.read_config(config)  # its faults are told before anything heavy is loaded
    from tiny_agent_trainer.cli import console
    from tiny_agent_trainer.experiments import run as running

    with console.build_console(quiet=quiet, log_json=log_json) as told:
        if config is not None:
            finished = running.run_experiment(config, results_dir=results, data_dir=data, told=told)
        else:
            finished = running.resume_experiment(resume or Path(), data_dir=data, told=told)
    told.ended(finished)
    if finished.outcome == "interrupted":
        raise typer.Exit(errors.INTERRUPTED_EXIT_CODE)
