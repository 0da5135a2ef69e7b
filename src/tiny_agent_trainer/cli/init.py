# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer init FOLDER`."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from tiny_agent_trainer.experiments.first_config.begin import Begun

_SHOWN: Final = 20


class LabelsAs(enum.Enum):
    """What the values of a label column are."""

    CLASSES = "classes"
    ORDINAL = "ordinal"
    REGRESSION = "regression"


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Images of any format.")],
    labels: Annotated[
        str, typer.Option(metavar="CSV", help="Table of labels in the folder, CSV or TSV.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="The TOML file to write (default: first.toml)."),
    ] = None,
    label_column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Column of the label; repeatable.")
    ] = None,
    labels_as: Annotated[
        LabelsAs | None,
        typer.Option(help="What one label column holds (default: told by its values)."),
    ] = None,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the image.")] = "",
    patient_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column of the patient.")
    ] = "",
    modality: Annotated[
        str, typer.Option(metavar="NAME", help="Take images of one modality, such as PT.")
    ] = "",
    label_maps: Annotated[
        str, typer.Option(metavar="DIR", help="Folder of label maps in the folder.")
    ] = "",
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Go on although equal images are divided.")
    ] = False,
) -> None:
    """Look at a folder and write a configuration that trains on it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from tiny_agent_trainer.experiments.first_config import begin
    from tiny_agent_trainer.tokenizer.labels import recognise

    begin.require_text(folder)
    wishes = recognise.Wishes(
        labels=tuple(label_column or ()),
        labels_as=labels_as.value if labels_as else "",
        id=id_column,
        patient=patient_column,
    )
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking at files", total=None)
        begun = begin.begin(
            folder,
            output or Path("first.toml"),
            labels,
            wishes,
            modality=modality,
            label_maps=label_maps,
            allow_leaks=allow_leaks,
            progress=lambda doing, done, total: bar.update(
                task, description=doing, completed=done, total=total
            ),
        )
    _print(begun)


def _print(begun: "Begun") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("images", "modality", "size", "type", "spacing in mm", title_justify="left")
    for cells in _kinds(begun):
        table.add_row(*(Text(cell) for cell in cells))
    told = ("split", "images", "patients", "of them linked", "per class")
    splits = Table(*told, title_justify="left")
    for cells in _splits(begun):
        splits.add_row(*(Text(cell, overflow="fold") for cell in cells))
    console = Console()
    console.print(table)
    console.print(splits)
    _print_refusals(begun)
    for reason in begun.reasons:
        typer.echo(f"chosen       {reason}")
    typer.echo(f"config       {begun.config}")
    typer.echo(f"fingerprint  {begun.fingerprint}")
    typer.echo(f"train        tiny-agent-trainer --config {begun.config}")


def _kinds(begun: "Begun") -> list[tuple[str, ...]]:
    from tiny_agent_trainer.experiments.first_config import fingerprint

    ordered = fingerprint.ordered(begun.seen)
    rows: list[tuple[str, ...]] = [
        (
            str(begun.seen.kinds[kind]),
            kind.modality or "-",
            " x ".join(map(str, kind.shape[:-1])) + (" RGB" if kind.shape[-1] == 3 else ""),
            kind.dtype,
            " x ".join(f"{edge:.4g}" for edge in kind.spacing_mm) or "-",
        )
        for kind in ordered[:_SHOWN]
    ]
    rest = sum(begun.seen.kinds[kind] for kind in ordered[_SHOWN:])
    more = f"{len(ordered) - _SHOWN} more kinds"
    return [*rows, (str(rest), more, "", "", "")] if rest else rows


def _splits(begun: "Begun") -> list[tuple[str, ...]]:
    from tiny_agent_trainer.experiments.first_config import fingerprint

    rows: list[tuple[str, ...]] = []
    for split in ("train", "val", "test"):
        members = [sample for sample in begun.listed if sample.split == split]
        classes = fingerprint.class_counts(begun.dataset, members)
        patients = {sample.patient for sample in members}
        joined = len(patients & begun.linked)
        shown = ", ".join(f"{name} {count}" for name, count in classes.items())
        rows.append((split, str(len(members)), str(len(patients)), str(joined), shown))
    return rows


def _print_refusals(begun: "Begun") -> None:
    refusals = begun.seen.refusals
    for refusal in refusals[:_SHOWN]:
        typer.echo(f"refused      {refusal.key}: {refusal.reason}")
    if len(refusals) > _SHOWN:
        typer.echo(f"refused      and {len(refusals) - _SHOWN} more")
