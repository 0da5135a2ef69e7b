# SPDX-License-Identifier: Apache-2.0
"""Compare runs: only what differs in their configurations, and their metrics with differences."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_agent_trainer import digests, durable, errors
from tiny_agent_trainer.experiments.run_directory import sealed

_ABSENT = "-"

_STEM_BYTES = 200
"""Length of the runs' names in the name of a page; with more, no file system takes it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side.

    Attributes:
        names: One per run.
        identical: Whether all have one run_digest.
        run_digests: One per run.
        config: Rows of a key and its value in each run; only keys that differ.
        metrics: Rows of a metric, its value in each run, and the difference of each to the first.
    """

    names: tuple[str, ...]
    identical: bool
    run_digests: tuple[str, ...]
    config: tuple[tuple[str, tuple[str, ...]], ...]
    metrics: tuple[tuple[str, tuple[float | None, ...], tuple[float | None, ...]], ...]


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compare finished runs.

    Raises:
        UsageError: Fewer than two.
        IntegrityError: One of them is not a finished run.
    """
    if len(paths) < 2:
        raise errors.UsageError(
            where="compare",
            expected="two or more runs",
            found=str(len(paths)),
            remedy="name the directories of two runs",
        )
    runs = [sealed.read_run(path) for path in paths]
    run_digests = tuple(run.manifest.run_digest for run in runs)
    return Comparison(
        names=tuple(run.name for run in runs),
        identical=len(set(run_digests)) == 1,
        run_digests=run_digests,
        config=tuple(_differing_keys([_flatten(run.config) for run in runs])),
        metrics=tuple(_metrics(runs)),
    )


def encode_markdown(comparison: Comparison) -> bytes:
    """The comparison as a Markdown page."""
    header = ["", *comparison.names]
    verdict = "The results are identical." if comparison.identical else "The results differ."
    lines = [f"# {' against '.join(comparison.names)}", "", verdict, ""]
    lines += _table(header, [["run_digest", *map(digests.short, comparison.run_digests)]])
    lines += ["", "## What differs in the configuration", ""]
    rows = [[f"`{key}`", *values] for key, values in comparison.config]
    lines += _table(header, rows) if rows else ["Nothing."]
    lines += ["", "## Metrics (in brackets: difference to the first run)", ""]
    lines += _table(header, [[name, *cells(values, differences)]
                             for name, values, differences in comparison.metrics])  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def cells(values: Sequence[float | None], differences: Sequence[float | None]) -> list[str]:
    """A metric's values in words, with differences from the second on."""
    shown = []
    for index, (value, difference) in enumerate(zip(values, differences, strict=True)):
        text = "undefined" if value is None else f"{value:.4f}"
        if index and difference is not None:
            text += f" ({difference:+.4f})"
        shown.append(text)
    return shown


def write_comparison(comparison: Comparison, directory: Path) -> Path:
    """Write the Markdown page into `directory`, named after the runs and after what it says.

    Another comparison of runs with the same names gets another page. A page that is there already
    is of this comparison, and stays as it is.

    Raises:
        StorageError: The disk refuses.
    """
    durable.make_directory(directory)
    page = encode_markdown(comparison)
    stem = "_vs_".join(comparison.names)
    if len(stem.encode()) > _STEM_BYTES:
        stem = f"{len(comparison.names)}_runs"
    path = directory / f"{stem}_{digests.sha256_hex(page)[:12]}.md"
    if not path.exists():
        durable.write_atomic(path, page)
    return path


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:  # noqa: ANN401 (any JSON)
    if not isinstance(value, dict):
        return {prefix: _ABSENT if value is None else str(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= _flatten(inner, f"{prefix}.{key}" if prefix else key)
    return flat


def _differing_keys(configs: Sequence[dict[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    keys = sorted({key for config in configs for key in config})
    rows = [(key, tuple(config.get(key, _ABSENT) for config in configs)) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _metrics(
    runs: Sequence[sealed.SealedRun],
) -> list[tuple[str, tuple[float | None, ...], tuple[float | None, ...]]]:
    rows = []
    for split in ("val", "test"):
        tables = [run.headline(split) for run in runs]
        for name in sorted({name for table in tables for name in table}):
            values = tuple(table.get(name) for table in tables)
            first = values[0]
            differences = tuple(
                None if value is None or first is None else value - first for value in values
            )
            rows.append((f"{split} {name}", values, differences))
    return rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return [lines[0], "|" + " --- |" * len(header), *lines[1:]]
