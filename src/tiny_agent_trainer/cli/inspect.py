# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer inspect PATH`."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An image, or a series' folder.")],
    config: Annotated[
        Path | None, typer.Option(metavar="CONFIG", help="How it is decoded and prepared.")
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="A page (.html) or a picture (.png).")
    ] = Path("inspection.html"),
) -> None:
    """Show what the network would see of an image."""
    from tiny_agent_trainer.config import trainer_config

    chosen = trainer_config.read_config(config).config if config else trainer_config.TrainerConfig()
    from tiny_agent_trainer.experiments import inspection

    inspected = inspection.inspect(path, chosen)
    inspection.write_inspection(inspected, output)
    for name, value in inspected.facts.items():
        typer.echo(f"{name:<16} {value}")
    typer.echo(f"{'page':<16} {output}")
