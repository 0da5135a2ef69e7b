# SPDX-License-Identifier: Apache-2.0
"""`load`: the network, tokenizer and configuration of a finished run, ready to predict."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.config.trainer_config import TrainerConfig
from tiny_agent_trainer.experiments import prepare
from tiny_agent_trainer.experiments.run_directory import integrity, layout, manifest
from tiny_agent_trainer.tokenizer import cohort, samples, tokenization
from tiny_agent_trainer.training import checkpoint, loop, store


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    """What a run made.

    Attributes:
        network: In evaluation mode, with the weights of the best epoch.
        tokenizer: As fitted on the training split.
        config: The configuration that ran.
        classes: Names in the order of the network's outputs.
        task: Kind of labels.
        training_labels: Of the training split, as in the cohort.
        identity: What ran, as its manifest records it.
        decoders: What decoded its images, name and version.
    """

    network: nn.Module
    tokenizer: tokenization.AbstractTokenizer
    config: TrainerConfig
    classes: tuple[str, ...]
    task: samples.Task
    training_labels: samples.LabelArray
    identity: Mapping[str, Any]
    decoders: tuple[str, ...]


def load(run: str | Path) -> LoadedRun:
    """Load a finished run from its own files; the data are not needed.

    Args:
        run: The directory of a finished run.

    Raises:
        UsageError: There is no such directory.
        IntegrityError: The run was changed.
        CheckpointError: It holds no `best` checkpoint.
    """
    path = Path(run)
    integrity.require_sound(path)
    config = trainer_config.read_config(path / layout.CONFIG).config
    about: Any = canonical.decode((path / layout.DATA_MANIFEST).read_bytes())
    fitted = tokenization.build_tokenizer(
        config.tokenizer,
        about["prepared_shape"],
        about["prepared_dtype"],
        tokenization.Normalization(
            mean=tuple(map(float, about["normalization"]["mean"])),
            deviation=tuple(map(float, about["normalization"]["deviation"])),
        ),
    )
    classes = tuple(about["classes"])
    task: samples.Task = about["task"]
    identity: Any = manifest.read_manifest_of(path).identity
    labels = [tuple(row["label"]) for row in about["samples"] if row["split"] == "train"]
    num_outputs = len(classes) - (task == "ordinal")
    network = prepare.build_network(config, fitted, num_outputs).network
    loop.load_network(network, _best(path).network)
    return LoadedRun(
        network=network.eval(),
        tokenizer=fitted,
        config=config,
        classes=classes,
        task=task,
        training_labels=cohort.stack_labels(labels, task),
        identity=identity,
        decoders=tuple(about.get("decoders", ())),
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
