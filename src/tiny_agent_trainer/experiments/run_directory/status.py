# SPDX-License-Identifier: Apache-2.0
"""`observed/status.html`: the digests of a run, whether it was verified, and its history.

Guarantees:
    A pure function of manifest and journal, so that `integrity` can compute the page anew and find
    any change to it. Nothing from a run is written without escaping; the page loads nothing.

Source:
    docs/formats/run-v1.md [R-9].
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tiny_agent_trainer import canonical, clock, durable
from tiny_agent_trainer.experiments.run_directory import journal, layout, manifest

VERIFIED: Final = "verified"
"""The journal's event for one verification; its fact `verdict` is one of `VERDICTS`."""

IDENTICAL: Final = "identical"
DIFFERENT: Final = "different"
UNCHECKED: Final = "could not be checked"
NEVER: Final = "never verified"

VERDICTS: Final = (IDENTICAL, DIFFERENT, UNCHECKED)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Status of a run: {state}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem }}
dt {{ font-weight: 600 }}
dd, td {{ overflow-wrap: anywhere }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #8886; padding: .25rem .5rem; text-align: left; \
vertical-align: top }}
</style>
</head>
<body>
<h1>Status of a run</h1>
<dl>
<dt>Verification</dt><dd>{state}</dd>
<dt>run_digest</dt><dd><code>{run_digest}</code></dd>
<dt>experiment_digest</dt><dd><code>{experiment_digest}</code></dd>
<dt>Digest of the manifest</dt><dd><code>{manifest_digest}</code></dd>
</dl>
<h2>History</h2>
<table>
<thead><tr><th>No.</th><th>UTC</th><th>Event</th><th>Facts</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</body>
</html>
"""

_ROW = "<tr><td>{number}</td><td>{at}</td><td>{event}</td><td><code>{facts}</code></td></tr>\n"


def verification_state(entries: Sequence[journal.Entry]) -> str:
    """The last verdict in a journal, or `NEVER`; an unknown word counts as `UNCHECKED`."""
    verdicts = [entry.facts.get("verdict") for entry in entries if entry.event == VERIFIED]
    if not verdicts:
        return NEVER
    return next((verdict for verdict in VERDICTS if verdict == verdicts[-1]), UNCHECKED)


def render_status(sealed: manifest.Manifest, entries: Sequence[journal.Entry]) -> bytes:
    """The page for a manifest and the lines of a journal."""
    page = _PAGE.format(
        state=html.escape(verification_state(entries)),
        run_digest=html.escape(sealed.run_digest),
        experiment_digest=html.escape(sealed.experiment_digest),
        manifest_digest=html.escape(sealed.digest),
        rows="".join(map(_row, entries)),
    )
    return page.encode()


def note(run: Path, now: clock.Clock, event: str, **facts: canonical.JsonValue) -> None:
    """Add a line to the journal of a sealed run and write the page anew; nobody comes between.

    Raises:
        IntegrityError: The manifest or the journal is damaged.
        StorageError: The disk is full, read-only or not permitted.
    """
    with journal.held(run / layout.JOURNAL):
        journal.append_held(run / layout.JOURNAL, now, event, facts)
        _write_page(run)


def refresh_status(run: Path) -> None:
    """Write the page of a sealed run anew, after a line was added to its journal.

    Raises:
        IntegrityError: The manifest or the journal is damaged.
        StorageError: The disk is full, read-only or not permitted.
    """
    with journal.held(run / layout.JOURNAL):
        _write_page(run)


def _write_page(run: Path) -> None:
    sealed = manifest.read_manifest_of(run)
    entries = journal.read_held(run / layout.JOURNAL)
    durable.write_atomic(run / layout.STATUS, render_status(sealed, entries))


def _row(entry: journal.Entry) -> str:
    return _ROW.format(
        number=entry.number,
        at=html.escape(entry.at),
        event=html.escape(entry.event),
        facts=html.escape(canonical.encode(entry.facts).decode()),
    )
