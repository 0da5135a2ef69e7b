# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer list`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tiny_agent_trainer.experiments.listing import ListedRun


def list_runs(
    results: Annotated[Path, typer.Option(metavar="DIR", help="The results directory.")] = Path(
        "experiments/results"
    ),
    archive_dir: Annotated[Path, typer.Option(metavar="DIR", help="The archives.")] = Path(
        "experiments/archive"
    ),
) -> None:
    """List runs and archives."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tiny_agent_trainer.experiments import listing

    table = Table("run", "state", "run_digest", "test metric", "verification", title_justify="left")
    for entry in listing.list_runs(results):
        table.add_row(*(Text(cell, overflow="fold") for cell in _cells(entry)))
    Console().print(table)
    for path in listing.list_archives(archive_dir):
        typer.echo(f"archive  {path}")


def _cells(entry: "ListedRun") -> list[str]:
    from tiny_agent_trainer import digests
    from tiny_agent_trainer.reports import words

    if entry.run is None:
        return [entry.path.name, entry.state, "", "", entry.problem]
    value = "undefined" if entry.test_value is None else f"{entry.test_value:.4f}"
    digest = digests.short(entry.run.manifest.run_digest)
    shown = f"{words.title(entry.metric)} {value}"
    return [entry.path.name, entry.state, digest, shown, entry.run.verification]
