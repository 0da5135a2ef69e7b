# SPDX-License-Identifier: Apache-2.0
"""Names and classes of the files of a run (docs/formats/run-v1.md [R-1], [R-2]).

Paths are relative to the run's directory, with `/` between the parts.
"""

import re
from typing import Final

INPUT: Final = "input"
"""What ran."""

RESULT: Final = "result"
"""What came out; equal byte for byte between runs of one experiment in exact arithmetic."""

OBSERVED: Final = "observed"
"""When, where and how fast; differs from run to run."""

UNKNOWN: Final = "unknown"
"""Nothing that a run holds; an addition."""

MANIFEST: Final = "manifest.json"
"""Lists all other files; it stands apart from the three classes."""

CONFIG: Final = "config.toml"
RESOLVED_CONFIG: Final = "config.resolved.json"
DATA_MANIFEST: Final = "data/manifest.json"
SOURCE: Final = "source.tar"
METRICS: Final = "metrics.json"
SUMMARY: Final = "run_summary.md"
REPORT: Final = "report.html"
CHRONICLE: Final = "chronicle.cmeta"
CHECKPOINTS: Final = "checkpoints"
PREDICTIONS: Final = ("predictions_val.csv", "predictions_test.csv")
ENVIRONMENT: Final = "observed/environment.json"
TIMINGS: Final = "observed/timings.json"
JOURNAL: Final = "observed/journal.jsonl"
LOG: Final = "observed/log.txt"
STATUS: Final = "observed/status.html"

DIRECTORIES: Final = ("checkpoints", "data", "observed")
"""The only directories inside a run."""

GROWING: Final = (JOURNAL, STATUS)
"""Files that change after sealing; the manifest lists neither [R-6]."""

GROWING_BYTES: Final = 1 << 24
"""Size of a journal or a status page; a longer one is refused, because readers hold it whole."""

REQUIRED: Final = (CONFIG, RESOLVED_CONFIG, DATA_MANIFEST, SOURCE, CHRONICLE)
"""Files without which there is nothing to verify [R-2]."""

_CLASSES: Final = {
    **dict.fromkeys((CONFIG, RESOLVED_CONFIG, DATA_MANIFEST, SOURCE), INPUT),
    **dict.fromkeys((METRICS, SUMMARY, REPORT, CHRONICLE, *PREDICTIONS), RESULT),
    **dict.fromkeys((ENVIRONMENT, TIMINGS, JOURNAL, LOG, STATUS), OBSERVED),
}
_CHECKPOINT = re.compile(r"checkpoints/[A-Za-z0-9_][A-Za-z0-9._-]{0,79}\.safetensors", re.ASCII)


def classify(path: str) -> str:
    """The class of a file: `INPUT`, `RESULT`, `OBSERVED`, or `UNKNOWN` for everything else."""
    if _CHECKPOINT.fullmatch(path):
        return RESULT
    return _CLASSES.get(path, UNKNOWN)
