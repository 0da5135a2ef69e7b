# SPDX-License-Identifier: Apache-2.0
"""Reading runs for people: what a directory holds, without numbers libraries."""

import dataclasses
from pathlib import Path
from typing import Any, cast

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.experiments import journal, layout, manifest


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SealedRun:
    """A finished run as its files say.

    Attributes:
        path: The directory.
        manifest: Its manifest.
        config: `config.resolved.json`.
        metrics: `metrics.json`.
        events: Its journal.
    """

    path: Path
    manifest: manifest.Manifest
    config: dict[str, Any]
    metrics: dict[str, Any]
    events: list[journal.Entry]

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.resolve().name

    def headline(self, split: str) -> dict[str, float | None]:
        """Loss and headline metrics of a split."""
        report = self.metrics["splits"][split]
        values = {name: metric["value"] for name, metric in report["metrics"].items()}
        return {"loss": report["loss"], **values}

    @property
    def verification(self) -> str:
        """What the last verification found, in words."""
        verdicts = [entry for entry in self.events if entry.event == "verified"]
        if not verdicts:
            return "never verified"
        return f"{verdicts[-1].facts.get('verdict')} ({verdicts[-1].at})"


def read_run(path: Path) -> SealedRun:
    """Read a finished run.

    Raises:
        IntegrityError: Not a finished run, or files that cannot be read as what they are.
    """
    if not (path / layout.MANIFEST).is_file():
        raise errors.IntegrityError(
            where=str(path),
            expected="the directory of a finished run",
            found=f"no {layout.MANIFEST} in it",
            remedy="name a finished run; `tiny-agent-trainer list` shows them, "
            "`--resume` finishes an interrupted one",
        )
    sealed = manifest.read_manifest((path / layout.MANIFEST).read_bytes(), str(path))
    return SealedRun(
        path=path,
        manifest=sealed,
        config=_read_json(path / layout.RESOLVED_CONFIG),
        metrics=_read_json(path / layout.METRICS),
        events=journal.read(path / layout.JOURNAL),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", canonical.decode_canonical(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise errors.IntegrityError(
            where=str(path),
            expected="a canonical JSON file",
            found=str(error),
            remedy="restore the run from its archive, or run the experiment again",
        ) from error
