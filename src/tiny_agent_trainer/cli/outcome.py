# SPDX-License-Identifier: Apache-2.0
"""What came out of a run, in words."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiny_agent_trainer.experiments.run import FinishedRun


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
        auroc = finished.test.value("auroc")
        shown = "undefined" if auroc is None else f"{auroc:.4f}"
        lines.append(f"test AUC    {shown}  ({finished.test.num_samples} images)")
    lines += [
        f"look        {command('tiny-agent-trainer')} show {run}",
        f"            open {run}/report.html",
        f"archive     {command('tiny-agent-trainer')} archive {run}",
        f"verify      {command('verifier')} {run}",
    ]
    return "\n".join(lines)


def command(name: str) -> str:
    """How to call a command from here: by name, or beside the one that is running."""
    beside = Path(sys.argv[0]).with_name(name)
    return name if shutil.which(name) or not beside.is_file() else str(beside)
