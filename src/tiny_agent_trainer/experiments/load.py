# SPDX-License-Identifier: Apache-2.0
"""`load`: the network, tokenizer and configuration of a finished run, ready to predict."""

import dataclasses
from pathlib import Path

from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.config.trainer_config import TrainerConfig
from tiny_agent_trainer.experiments import integrity, layout, prepare
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.tokenization import AbstractTokenizer
from tiny_agent_trainer.training import checkpoint, loop, store


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    """What a run made.

    Attributes:
        network: In evaluation mode, with the weights of the best epoch.
        tokenizer: As fitted on the training split.
        config: The configuration that ran.
        classes: Names in the order of the network's outputs.
    """

    network: nn.Module
    tokenizer: AbstractTokenizer
    config: TrainerConfig
    classes: tuple[str, ...]


def load(run: str | Path, *, data_dir: str | Path | None = None) -> LoadedRun:
    """Load a finished run.

    The tokenizer's statistics come from the training split, so the data are read again and must be
    the recorded ones.

    Args:
        run: The directory of a finished run.
        data_dir: Where the data are, instead of `[data] root`.

    Raises:
        IntegrityError: The run was changed, or its data are not the recorded ones.
        CheckpointError: It holds no `best` checkpoint.
        DatasetMissingError: The data are not here.
    """
    path = Path(run)
    integrity.require_sound(path)
    config = trainer_config.read_config(path / layout.CONFIG).config
    folder = None if data_dir is None else Path(data_dir)
    data = prepare.read_data(config, folder, samples.silent)
    if data.manifest != (path / layout.DATA_MANIFEST).read_bytes():
        raise errors.IntegrityError(
            where=str(path / layout.DATA_MANIFEST),
            expected="the data that the run was trained on",
            found="other data",
            remedy="name the directory of the recorded data",
        )
    network = prepare.build_network(config, data).network
    loop.load_network(network, _best(path).network)
    return LoadedRun(
        network=network.eval(),
        tokenizer=data.feed.tokenizer,
        config=config,
        classes=data.cohort.classes,
    )


def _best(run: Path) -> checkpoint.CheckpointState:
    path = run / layout.CHECKPOINTS / store.BEST
    if not path.is_file():
        raise errors.CheckpointError(
            where=str(path),
            expected="the checkpoint of the best epoch",
            found="none",
            remedy='train with "best" among [engine] keep',
        )
    return checkpoint.read_checkpoint(path)
