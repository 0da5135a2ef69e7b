# SPDX-License-Identifier: Apache-2.0
"""Train medical-image models and prove what was done.

Importing the package imports nothing heavy. The Python API is loaded on first use:

    from tiny_agent_trainer import run_experiment, archive_experiment, verify_experiment, load
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tiny_agent_trainer.experiments.archives.archive import archive_experiment
    from tiny_agent_trainer.experiments.load import load
    from tiny_agent_trainer.experiments.run import run_experiment
    from tiny_agent_trainer.experiments.verify import verify_experiment

_API = {
    "run_experiment": "tiny_agent_trainer.experiments.run",
    "archive_experiment": "tiny_agent_trainer.experiments.archives.archive",
    "verify_experiment": "tiny_agent_trainer.experiments.verify",
    "load": "tiny_agent_trainer.experiments.load",
}

__all__ = ["__version__", "archive_experiment", "load", "run_experiment", "verify_experiment"]


def __getattr__(name: str) -> object:
    if name in _API:
        return getattr(import_module(_API[name]), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
