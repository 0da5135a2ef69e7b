# SPDX-License-Identifier: Apache-2.0
"""What has no partner or no label, written beside the data; names of patients never leave them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.tokenizer.labels.attach import Attached

FOLDER: Final = ".tiny-agent-trainer"
"""Hidden folder below the data root for what must stay with the data."""
LIST: Final = "unmatched.txt"
_SHOWN: Final = 20


def require_none(found: Attached, root: Path) -> None:
    """Refuse rows without image and images without row.

    Raises:
        DatasetError: Counts them, shows the first twenty of each, says where the whole list is.
    """
    if found.without_row or found.without_image:
        raise errors.DatasetError(
            where="[data.labels]",
            expected="an image for every row and a row for every image",
            found=f"{_describe(found)}\nThe whole list: {write_list(found, root)}\n",
            remedy='mend the table or the folder, or write `on_unmatched = "list"` to go on '
            "without them; every report will then say so",
        )


def write_list(found: Attached, root: Path) -> str:
    """Write the whole list beside the data and say where it is, or why it is not."""
    path = root / FOLDER / LIST
    blank = [f"line {number}: {name}" for number, name in found.without_label]
    lines = [*_named("image without row", found.without_row),
             *_named("row without image", found.without_image),
             *_named("row without label", blank)]  # fmt: skip
    try:
        durable.make_directory(path.parent)
        durable.write_atomic(path, "".join(f"{line}\n" for line in lines).encode())
    except errors.StorageError as error:
        return f"not written ({error.found})"
    return f"{FOLDER}/{LIST} below the data root"


def remarks(found: Attached) -> Iterator[str]:
    """How many were left out, as sentences for a report."""
    if found.without_row:
        yield f"{len(found.without_row)} images without a row in the table were left out."
    if found.without_image:
        yield f"{len(found.without_image)} rows of the table without an image were left out."
    if found.without_label:
        lines = [line for line, _ in found.without_label]
        more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        shown = ", ".join(map(str, lines[:_SHOWN]))
        yield f"{len(lines)} rows whose label is blank were left out: lines {shown}{more}."


def _describe(found: Attached) -> str:
    parts = []
    for noun, names in (
        ("images without row", found.without_row),
        ("rows without image", found.without_image),
    ):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        shown = f" ({', '.join(names[:_SHOWN])}{more})" if names else ""
        parts.append(f"{len(names)} {noun}{shown}")
    return "; ".join(parts)


def _named(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {name}" for name in names]
