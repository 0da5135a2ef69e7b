# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer archive RUN` and `restore ARCHIVE DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from tiny_agent_trainer.cli import outcome


def archive(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's directory.")],
    archive_dir: Annotated[
        Path | None, typer.Option("--archive-dir", metavar="DIR", help="Where the archive goes.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the run where it is.")] = False,
) -> None:
    """Compress a run into an archive and move it there."""
    from tiny_agent_trainer.experiments.archives import archive as archiving

    archived = archiving.archive_experiment(run, archive_dir=archive_dir, keep=keep)
    typer.echo(f"archive     {archived.path}  ({archived.size_bytes} bytes)")
    typer.echo(f"run_digest  {archived.run_digest}")
    typer.echo(f"tar_digest  {archived.tar_digest}")
    typer.echo(f"verify      {outcome.command('verifier')} {archived.path}")


def restore(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="A .tar.gz of `archive`.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the run is put.")],
) -> None:
    """Check an archive and unpack it into DIR."""
    from tiny_agent_trainer.experiments.archives import restore as restoring

    typer.echo(f"run  {restoring.restore_archive(archive, directory)}")
