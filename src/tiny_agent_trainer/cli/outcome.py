# SPDX-License-Identifier: Apache-2.0
"""What came out of a run, in words."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiny_agent_trainer.experiments.run import FinishedRun
    from tiny_agent_trainer.reports.validation_report import ValidationReport


def describe(finished: "FinishedRun") -> str:
    """What came out, and what to do with it."""
    run = finished.path
    if finished.outcome == "interrupted":
        return (
            f"stopped after a whole step; everything is kept in {run}\n"
            f"go on with: {command('tiny-agent-trainer')} --resume {run}"
        )
    lines = [f"run         {run}", f"run_digest  {finished.run_digest}"]
    if finished.test is not None:
        lines.append(_describe_test(finished.test))
    lines += [
        f"look        {command('tiny-agent-trainer')} show {run}",
        f"            open {run}/report.html",
        f"archive     {command('tiny-agent-trainer')} archive {run}",
        f"verify      {command('verifier')} {run}",
    ]
    return "\n".join(lines)


def _describe_test(test: "ValidationReport") -> str:
    """The most telling figure: the AUC of classes, else the first of the report."""
    is_ranked = "auroc" in test.metric_names
    name = "auroc" if is_ranked else test.metric_names[0]
    value = test.value(name)
    shown = "undefined" if value is None else f"{value:.4f}"
    title = f"test {'AUC' if is_ranked else name.upper()}"
    return f"{title:<12}{shown}  ({test.num_samples} images)"


def command(name: str) -> str:
    """How to call a command from here: by name, or beside the one that is running."""
    beside = Path(sys.argv[0]).with_name(name)
    return name if shutil.which(name) or not beside.is_file() else str(beside)
