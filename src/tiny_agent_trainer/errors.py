# SPDX-License-Identifier: Apache-2.0
"""The family of errors: one class per remedy, one stable exit code per class.

Every error says, in this order, where it happened, what was expected, what was found, and what to
do next. The exit codes are part of the interface (docs/exit-codes.md) and never change meaning.
"""

from collections.abc import Sequence
from typing import ClassVar


class TrainerError(Exception):
    """What every error of this package is.

    Args:
        where: The place in the user's words: a file and line, a tensor, a record number.
        expected: What would have been right.
        found: What was there instead.
        remedy: What to do next, as an imperative sentence without its full stop.
    """

    exit_code: ClassVar[int] = 70
    title: ClassVar[str] = "a fault inside tiny-agent-trainer"

    def __init__(self, *, where: str, expected: str, found: str, remedy: str) -> None:
        self.where = where
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(f"{where}: {self.fault}. To go on: {remedy}.")

    @property
    def fault(self) -> str:
        """What is wrong, without its place and the remedy."""
        return f"expected {self.expected}; found {self.found}"


class UsageError(TrainerError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2
    title = "the command line does not fit"


class ConfigError(TrainerError):
    """The TOML file has faults; all of them are listed at once."""

    exit_code = 10
    title = "the configuration has faults"

    def __init__(self, path: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        listing = "".join(f"\n  {fault}" for fault in self.faults)
        super().__init__(
            where=path,
            expected="a valid configuration",
            found=f"{len(self.faults)} {noun}:{listing}\n",
            remedy="mend the lines above; `tiny-agent-trainer schema` prints every valid key",
        )


class DatasetMissingError(TrainerError):
    """A dataset file is not on this machine and could not be fetched."""

    exit_code = 11
    title = "the dataset is not here"


class DatasetError(TrainerError):
    """A dataset file is here, but it is damaged, or not what it is said to be."""

    exit_code = 12
    title = "the dataset is not usable"


class LeakError(TrainerError):
    """The same patient or the same pixels stand in two splits."""

    exit_code = 13
    title = "the splits leak"


class NotFiniteError(TrainerError):
    """A loss, gradient or weight became NaN or infinite."""

    exit_code = 14
    title = "training left the finite numbers"


class CheckpointError(TrainerError):
    """A safetensors file is damaged, foreign or does not fit the network."""

    exit_code = 15
    title = "the checkpoint is not usable"


class LedgerError(TrainerError):
    """A `.cmeta` ledger is damaged or was changed."""

    exit_code = 16
    title = "the ledger is not sound"


class ArchiveError(TrainerError):
    """An archive is damaged, was changed, or tries to do harm."""

    exit_code = 17
    title = "the archive is not acceptable"


class StorageError(TrainerError):
    """The disk is full, read-only or not permitted."""

    exit_code = 18
    title = "the disk refused"


class IntegrityError(TrainerError):
    """A run directory does not match its own manifest."""

    exit_code = 19
    title = "the run was changed after it was sealed"


class ResumeError(TrainerError):
    """A run cannot be continued, or another process holds it."""

    exit_code = 20
    title = "the run cannot be continued"


class ModelError(TrainerError):
    """A network cannot be built, fitted to the data, or initialised reproducibly."""

    exit_code = 21
    title = "the network cannot be built"


class PlatformError(TrainerError):
    """This machine lacks what the configuration asks for."""

    exit_code = 22
    title = "this machine cannot run it"


INTERRUPTED_EXIT_CODE = 130
UNREAD_EXIT_CODE = 141
"""As a shell counts SIGPIPE; the 1 of other programs means *different* here."""
INTERNAL_EXIT_CODE = 70


def listed_errors() -> list[type[TrainerError]]:
    """All classes of error with an exit code of their own, in the order of their codes."""
    return sorted(TrainerError.__subclasses__(), key=lambda error: error.exit_code)


class UnsupportedOperationError(TrainerError):
    """A network does something that exact arithmetic does not define."""

    exit_code = 23
    title = "an operation has no exact definition"


class WorkerError(TrainerError):
    """A worker of a training died or could not be joined."""

    exit_code = 24
    title = "a worker is gone"
