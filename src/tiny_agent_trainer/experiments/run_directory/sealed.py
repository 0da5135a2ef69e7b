# SPDX-License-Identifier: Apache-2.0
"""Reading runs for people: what a directory holds, without numbers libraries."""

import dataclasses
from pathlib import Path
from typing import Any, cast

from tiny_agent_trainer import canonical, digests, errors
from tiny_agent_trainer.experiments.run_directory import journal, layout, manifest, status


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SealedRun:
    """A finished run as its files say.

    Attributes:
        path: The directory.
        manifest: Its manifest.
        config: `config.resolved.json`.
        metrics: `metrics.json`.
        summary: `run_summary.md`.
        events: Its journal.
    """

    path: Path
    manifest: manifest.Manifest
    config: dict[str, Any]
    metrics: dict[str, Any]
    summary: str
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
        return status.verification_state(self.events)


def read_run(path: Path) -> SealedRun:
    """Read a finished run; what is shown of it is held against its manifest.

    Raises:
        UsageError: Not a finished run.
        IntegrityError: A file that is read was changed.
    """
    if not (path / layout.MANIFEST).is_file():
        raise errors.UsageError(
            where=str(path),
            expected="the directory of a finished run",
            found="an unfinished run" if (path / layout.CONFIG).exists() else "no run",
            remedy="finish it with --resume, or name one that `tiny-agent-trainer list` shows",
        )
    sealed = manifest.read_manifest_of(path)
    return SealedRun(
        path=path,
        manifest=sealed,
        config=_decode(path, sealed, layout.RESOLVED_CONFIG),
        metrics=_decode(path, sealed, layout.METRICS),
        summary=_read(path, sealed, layout.SUMMARY).decode("utf-8"),
        events=journal.read(path / layout.JOURNAL),
    )


def _decode(run: Path, sealed: manifest.Manifest, name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", canonical.decode(_read(run, sealed, name)))


def _read(run: Path, sealed: manifest.Manifest, name: str) -> bytes:
    """A file of the run, if it is the one that was sealed."""
    entry = sealed.entry(name)
    data = (run / name).read_bytes() if (run / name).is_file() else b""
    found = digests.sha256_hex(data)
    if entry is None or entry.sha256 != found:
        raise manifest.refusal(
            str(run / name),
            f"SHA-256 {entry.sha256}" if entry else "a file that the manifest lists",
            f"SHA-256 {found}" if data else "no file",
        )
    return data
