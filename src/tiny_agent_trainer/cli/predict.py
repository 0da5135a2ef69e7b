# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer predict RUN INPUT...`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's directory.")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images and folders of images.")
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Where it goes (default: standard output).")
    ] = None,
) -> None:
    """Ask a run's network about images, read and prepared as in its training."""
    from tiny_agent_trainer import durable
    from tiny_agent_trainer.experiments import predict as predicting

    answers = predicting.predict(run, inputs)
    if output is None:
        sys.stdout.buffer.write(answers)
        sys.stdout.buffer.flush()
        return
    durable.write_atomic(output, answers)
    typer.echo(f"predictions  {output}")
