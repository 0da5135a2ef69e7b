# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer`: the one command, and the only place that catches a bare Exception."""

from pathlib import Path
from typing import Annotated

import typer

from tiny_agent_trainer import __version__, errors
from tiny_agent_trainer.cli import (
    archive,
    cache,
    chronicle,
    compare,
    doctor,
    faults,
    init,
    inspect,
    listing,
    predict,
    run,
    schema,
    show,
    verify,
)

app = typer.Typer(
    name="tiny-agent-trainer",
    help="Train medical-image models from one TOML file, and prove what was done.",
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)
app.command("run")(run.run)
app.command("archive")(archive.archive)
app.command("restore")(archive.restore)
app.command("verify")(verify.verify)
app.command("compare")(compare.compare)
app.command("list")(listing.list_runs)
app.command("show")(show.show)
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.command("init")(init.init)
app.command("inspect")(inspect.inspect)
app.command("predict")(predict.predict)
app.add_typer(chronicle.app, name="chronicle")
app.add_typer(cache.app, name="cache")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tiny-agent-trainer {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="Train this experiment.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue this run.")] = None,
    results: run.Results = None,
    data: run.Data = None,
    quiet: run.Quiet = False,
    log_json: run.LogJson = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Train with --config or --resume, or name a command."""
    if context.invoked_subcommand is not None:
        if config or resume or results or data or quiet or log_json:
            raise _unfitting(
                "options of a command behind the command",
                f"options before the command {context.invoked_subcommand}",
            )
        return
    if config is None and resume is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    if resume is not None and (config or results):
        found = "--config" if config else "--results"
        raise _unfitting("--resume alone: a run knows its configuration and place", f"{found} too")
    run.train(
        config=config, resume=resume, results=results, data=data, quiet=quiet, log_json=log_json
    )


def _unfitting(expected: str, found: str) -> errors.UsageError:
    return errors.UsageError(
        where="tiny-agent-trainer",
        expected=expected,
        found=found,
        remedy="see --help of the command",
    )


def main() -> None:
    """Entry point; ends the process with the exit code of what happened."""
    raise SystemExit(faults.call(app, internal_code=errors.INTERNAL_EXIT_CODE))
