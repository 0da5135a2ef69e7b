# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer show RUN`."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's directory.")],
) -> None:
    """Show a run: its digests, history and summary."""
    from tiny_agent_trainer.experiments.run_directory import sealed

    found = sealed.read_run(run)
    typer.echo(f"run                {found.name}")
    name, notes = found.config["experiment"]["name"], found.config["experiment"]["notes"]
    typer.echo(f"name               {name or '-'}")
    if notes:
        typer.echo(f"notes              {notes}")
    typer.echo(f"run_digest         {found.manifest.run_digest}")
    typer.echo(f"experiment_digest  {found.manifest.experiment_digest}")
    typer.echo(f"verification       {found.verification}")
    for entry in found.events:
        facts = {key: value for key, value in entry.facts.items() if not isinstance(value, dict)}
        words = "  ".join(f"{key} {value}" for key, value in facts.items())
        typer.echo(f"{entry.at}  {entry.event:<12} {words}".rstrip())
    typer.echo("")
    typer.echo(found.summary)
