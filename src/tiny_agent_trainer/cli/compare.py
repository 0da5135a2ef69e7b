# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer compare RUN RUN...`."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Finished runs.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the page goes (default: comparisons beside them)."),
    ] = None,
) -> None:
    """Show what differs between runs, and write it as a Markdown page."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from tiny_agent_trainer import digests
    from tiny_agent_trainer.experiments import compare as comparing

    comparison = comparing.compare_runs(runs)
    directory = output or runs[0].resolve().parent / "comparisons"
    page = comparing.write_comparison(comparison, directory)
    rows = [("run_digest", [digests.short(value) for value in comparison.run_digests])]
    rows += [(key, list(values)) for key, values in comparison.config]
    rows += [
        (name, comparing.cells(values, differences))
        for name, values, differences in comparison.metrics
    ]
    table = Table("", *(escape(name) for name in comparison.names))
    for name, cells in rows:
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    Console().print(table)
    verdict = "identical" if comparison.identical else "different"
    typer.echo(f"results   {verdict}")
    typer.echo(f"page      {page}")
