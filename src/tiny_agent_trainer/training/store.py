# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints a run holds: `best`, `last`, and one per `checkpoint_every` when all are kept.

At every checkpoint `best` is written before `last`. A run killed between the two continues from the
older `last`; the same steps then lead to the same `best` again.
"""

import dataclasses
from pathlib import Path

from tiny_agent_trainer import durable, errors
from tiny_agent_trainer.training import checkpoint

BEST = "best.safetensors"
LAST = "last.safetensors"


@dataclasses.dataclass(slots=True, kw_only=True)
class CheckpointStore:
    """The `checkpoints` directory of a run.

    Attributes:
        directory: Where the files are; it exists.
        keep: What a finished run holds: `best`, `last`, `all`.
    """

    directory: Path
    keep: tuple[str, ...]
    _is_best_new: bool = False
    _best: checkpoint.CheckpointState | None = None

    def remember_best(self, state: checkpoint.CheckpointState) -> None:
        """Hold a state, whose tensors are copies, until the next checkpoint writes it."""
        self._best, self._is_best_new = state, True

    def write(self, state: checkpoint.CheckpointState, *, is_scheduled: bool) -> None:
        """Write `best` if it is new, then `last`, and a numbered one if all are kept."""
        if self._best is not None and self._is_best_new:
            checkpoint.write_checkpoint(self.directory / BEST, self._best)
            self._is_best_new = False
        if is_scheduled and "all" in self.keep:
            name = f"step_{state.position.step:08d}.safetensors"
            checkpoint.write_checkpoint(self.directory / name, state)
        checkpoint.write_checkpoint(self.directory / LAST, state)

    def read_last(self) -> checkpoint.CheckpointState | None:
        """The state to continue from; None if none was written yet."""
        path = self.directory / LAST
        return checkpoint.read_checkpoint(path) if path.exists() else None

    def read_best(self, position: checkpoint.Position) -> checkpoint.CheckpointState:
        """The state of the best epoch of a finished training.

        Raises:
            CheckpointError: The file is gone, or is not what the training wrote.
        """
        if self._best is not None:
            return self._best
        path = self.directory / BEST
        state = checkpoint.read_checkpoint(path)
        found = checkpoint.digest_tensors(state.network)
        if found != position.best_weights:
            raise errors.CheckpointError(
                where=str(path),
                expected=f"the network of epoch {position.best_epoch}, {position.best_weights}",
                found=found,
                remedy="remove both checkpoints and continue: the run starts from the beginning",
            )
        return state

    def kept_names(self) -> list[str]:
        """Names of the files that a finished run holds."""
        names = [path.name for path in self.directory.glob("step_*.safetensors")]
        names += [BEST] if {"best", "all"} & set(self.keep) else []
        names += [LAST] if {"last", "all"} & set(self.keep) else []
        return sorted(names)

    def unkept_names(self) -> list[str]:
        """Names of the files that are there and that a finished run does not hold."""
        found = {path.name for path in self.directory.glob("*.safetensors")}
        return sorted(found - set(self.kept_names()))

    def prune(self) -> None:
        """Delete what a finished run does not hold."""
        with durable.refusals(self.directory):
            for name in self.unkept_names():
                (self.directory / name).unlink()
