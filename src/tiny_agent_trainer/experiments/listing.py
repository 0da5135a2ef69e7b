# SPDX-License-Identifier: Apache-2.0
"""What runs and archives there are; the directories are the only source."""

import dataclasses
from pathlib import Path

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments.run_directory import layout, sealed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """One run in a results directory.

    Attributes:
        path: Its directory.
        state: `finished`, `unfinished`, or `damaged`.
        run: What it holds, when it is finished.
        metric: The metric that chose its best epoch.
        test_value: The same on the test split; None where undefined.
        problem: Why it is damaged.
    """

    path: Path
    state: str
    run: sealed.SealedRun | None = None
    metric: str = ""
    test_value: float | None = None
    problem: str = ""


def list_runs(results: Path) -> list[ListedRun]:
    """All runs of a results directory, by name; none where the directory is absent."""
    if not results.is_dir():
        return []
    marks = (layout.CONFIG, layout.MANIFEST)
    found = [p for p in results.iterdir() if any((p / mark).is_file() for mark in marks)]
    visible = [path for path in found if not path.name.startswith(".")]
    return [_describe(path) for path in sorted(visible, key=lambda path: path.name.encode())]


def list_archives(archives: Path) -> list[Path]:
    """All archives of an archive directory, by name."""
    return sorted(archives.glob("*.tar.gz")) if archives.is_dir() else []


def _describe(path: Path) -> ListedRun:
    if not (path / layout.MANIFEST).exists():
        return ListedRun(path=path, state="unfinished")
    try:
        run = sealed.read_run(path)
        metric = run.config["validator"]["metric"]
        value = run.headline("test").get(metric)
        return ListedRun(path=path, state="finished", run=run, metric=metric, test_value=value)
    except (errors.TrainerError, KeyError, TypeError, ValueError, OSError) as error:
        return ListedRun(path=path, state="damaged", problem=str(error))
