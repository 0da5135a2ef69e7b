# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer cache info|clear`: prepared images that later runs find again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tiny_agent_trainer import errors

if TYPE_CHECKING:
    from tiny_agent_trainer.tokenizer.cache.store import Contents, Store

app = typer.Typer(no_args_is_help=True, help="Show or remove what is kept of prepared images.")

Directory = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Another directory than the user's own cache."),
]


@app.command()
def info(cache: Directory = None) -> None:
    """Show where prepared images are kept, how many, and their size."""
    store = _open(cache)
    _describe(store, store.contents())


@app.command()
def clear(cache: Directory = None) -> None:
    """Remove all of them; a run that uses them goes on."""
    store = _open(cache)
    removed = store.clear()
    _describe(store, removed)
    typer.echo("removed")


def _open(named: Path | None) -> "Store":
    from tiny_agent_trainer.tokenizer.cache import place, store

    directory = named or place.directory_of(place.AUTOMATIC)
    if directory is None or (named is not None and not named.is_dir()):
        raise errors.UsageError(
            where="tiny-agent-trainer cache",
            expected="a directory with prepared images",
            found=f"no directory {named}" if named else f"${place.VARIABLE} is empty: no cache",
            remedy="name the directory that `cache` under [data] names",
        )
    return store.Store(directory, 0)


def _describe(store: "Store", found: "Contents") -> None:
    typer.echo(f"{store.directory}")
    typer.echo(f"{found.entries} images, {found.rows} datasets, {found.size_bytes} bytes")
