# SPDX-License-Identifier: Apache-2.0
"""From a configuration to its parts: data, tokenizer, network, trainer."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import data as data_options
from tiny_agent_trainer.config.data import DicomPhantomOptions, FolderOptions
from tiny_agent_trainer.config.images import ImagesOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.config.trainer_config import TrainerConfig
from tiny_agent_trainer.experiments import data_manifest
from tiny_agent_trainer.model import build, shape
from tiny_agent_trainer.reports.validation_report import ValidationReport
from tiny_agent_trainer.tokenizer import batches, cohort, samples
from tiny_agent_trainer.tokenizer.augmentation import augmentation
from tiny_agent_trainer.tokenizer.cache import items, place
from tiny_agent_trainer.tokenizer.cache.store import Store
from tiny_agent_trainer.tokenizer.samples import Split
from tiny_agent_trainer.tokenizer.tokenization import AbstractTokenizer
from tiny_agent_trainer.training import (
    arithmetic,
    arithmetics,
    flat,
    group,
    loop,
    parts,
    step,
    store,
    witness,
)
from tiny_agent_trainer.training.losses.loss import AbstractLoss
from tiny_agent_trainer.training.schedules.schedule import Span
from tiny_agent_trainer.validator import evaluate, run_validation
from tiny_agent_trainer.validator.predictions import Predictions

Answer = TypeVar("Answer")

ALONE = group.Alone()

_RANKING = ("auroc", "average_precision")
"""Metrics that are defined by the labels alone, whatever a network answers."""

_LOSSES: Mapping[samples.Task, str] = {
    "multiclass": "cross_entropy",
    "multilabel": "binary_cross_entropy",
    "regression": "mean_squared_error",
    "ordinal": "ordinal",
}
"""The loss that is made for each kind of labels."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreparedData:
    """The data of an experiment, ready to train on; `folder` is where they were looked for."""

    feed: batches.Feed
    manifest: bytes
    folder: Path | None = None

    @property
    def cohort(self) -> cohort.Cohort:
        """The samples."""
        return self.feed.cohort


def read_data(
    config: TrainerConfig, data_dir: Path | None, progress: samples.Progress
) -> PreparedData:
    """Read, check and prepare the data that the configuration names.

    Args:
        config: The configuration.
        data_dir: Where the files are, instead of `[data] root`.
        progress: Told how far reading is.

    Raises:
        DatasetMissingError, DatasetError, LeakError: The data are absent, unusable or leak.
    """
    options = config.data
    if data_dir is not None:
        options = options.model_copy(update={"root": str(data_dir)})
    dataset, kept = _read(options, config.tokenizer, progress)
    members = cohort.build_cohort(
        dataset, config.tokenizer, allow_leaks=options.allow_leaks, store=kept
    )
    changes = augmentation.Augmentation(config.tokenizer.augmentation, config.engine.base_seed)
    tokenizer = members.build_tokenizer(config.tokenizer)
    feed = batches.Feed(
        cohort=members,
        tokenizer=tokenizer,
        augmentation=changes,
        base_seed=config.engine.base_seed,
    )
    manifest = data_manifest.encode_data_manifest(members, tokenizer.normalization)
    return PreparedData(feed=feed, manifest=manifest, folder=data_dir)


def _read(
    options: data_options.DataSection, preparation: TokenizerSection, progress: samples.Progress
) -> tuple[samples.Dataset, Store | None]:
    """The dataset, and where its images are kept; None where memory holds them."""
    reader: samples.Reader = parts.build_part(options, progress)
    if isinstance(reader, items.PreparingReader):
        kept = place.open_store(options.cache, options.cache_limit_gigabytes)
        return reader.preparing(preparation, kept).read(), kept
    dataset = reader.read()
    if cohort.is_in_memory(dataset):
        return dataset, None
    return dataset, place.open_store(options.cache, options.cache_limit_gigabytes)


def images_options(config: TrainerConfig) -> ImagesOptions:
    """How the configuration decodes files of any format."""
    return (
        config.data.images
        if isinstance(config.data, FolderOptions | DicomPhantomOptions)
        else ImagesOptions()
    )


def build_network(
    config: TrainerConfig, tokenizer: AbstractTokenizer, num_outputs: int, fewest: int = 2
) -> build.BuiltNetwork:
    """The network with its initial weights.

    Args:
        config: The configuration.
        tokenizer: Says what the network receives.
        num_outputs: Numbers per sample that it answers with.
        fewest: The fewest samples that it will see at once in training.

    Raises:
        ModelError: It cannot be built for these data.
    """
    target = shape.InputShape(
        kind=config.tokenizer.kind, sizes=tokenizer.input_shape, classes=num_outputs
    )
    return build.build_network(config.model, target, config.engine.base_seed, fewest)


def fewest_samples(config: TrainerConfig, data: PreparedData) -> int:
    """Samples in the smallest shard of an epoch: the last one of the last batch."""
    count = len(data.cohort.splits["train"])
    last_batch = count % config.engine.batch_size or config.engine.batch_size
    batches_seen = [last_batch, min(count, config.engine.batch_size)]
    size = config.engine.samples_per_shard
    return min(batch % size or min(batch, size) for batch in batches_seen)


def build_loss(config: TrainerConfig, data: PreparedData) -> AbstractLoss:
    """The loss, with the class counts of the training split.

    Raises:
        DatasetError: The loss is made for another kind of labels.
    """
    return build_loss_of(config, data.cohort.task, training_labels(data), len(data.cohort.classes))


def build_loss_of(
    config: TrainerConfig, task: samples.Task, labels: samples.LabelArray, num_classes: int
) -> AbstractLoss:
    """The loss for the labels of a training split.

    Raises:
        DatasetError: The loss is made for another kind of labels.
    """
    options = config.optimizer.loss
    for_task = parts.find_part(options).task
    if for_task != task:
        raise errors.DatasetError(
            where="[optimizer.loss] name",
            expected=f"a loss for {task} labels",
            found=f"{options.name}, which is for {for_task} labels",
            remedy=f'write name = "{_LOSSES[task]}" under [optimizer.loss]',
        )
    known = labels if task == "regression" else _count_classes(task, labels, num_classes)
    loss: AbstractLoss = parts.build_part(options, known)
    return loss


def training_labels(data: PreparedData) -> samples.LabelArray:
    """Labels of the training split."""
    return data.cohort.labels[data.cohort.splits["train"]]


def class_counts(data: PreparedData) -> list[int]:
    """Samples of each class in the training split; none for regression.

    For multi-label data the samples with a label, then those of which it is known.
    """
    return _count_classes(data.cohort.task, training_labels(data), len(data.cohort.classes))


def _count_classes(task: samples.Task, labels: samples.LabelArray, num_classes: int) -> list[int]:
    if task == "regression":
        return []
    if task == "multilabel":
        found = [(labels == 1).sum(axis=0), (labels != samples.MASKED).sum(axis=0)]
        return [int(count) for counts in found for count in counts]
    counts = np.bincount(labels, minlength=num_classes)
    return [int(count) for count in counts]


def span(config: TrainerConfig, data: PreparedData) -> Span:
    """The length of the training."""
    count = len(data.cohort.splits["train"])
    return Span(epochs=config.engine.epochs, steps_per_epoch=-(-count // config.engine.batch_size))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Predicts and reports, in the configured arithmetic."""

    config: TrainerConfig
    data: PreparedData
    loss: AbstractLoss
    arithmetic: arithmetic.AbstractArithmetic

    def predict(self, network: nn.Module, split: Split) -> Predictions:
        """What the network says about a split."""
        return self._carry_out(run_validation.predict_split, network, split)

    def validate(self, network: nn.Module) -> ValidationReport:
        """The report on the validation split."""
        return self._carry_out(run_validation.run_validation, network, "val")

    def _carry_out(
        self, function: Callable[..., Answer], network: nn.Module, split: Split
    ) -> Answer:
        with self.arithmetic.context():
            return function(
                network,
                self.data.feed,
                split,
                self.config.validator.batch_size,
                probabilities=self.loss.probabilities,
                per_sample=self.loss.per_sample,
            )

    def require_selectable(self) -> None:
        """Refuse a validation split on which the chosen metric is undefined.

        Raises:
            DatasetError: Says what is missing, or which metrics such labels have.
        """
        metric, cohort = self.config.validator.metric, self.data.cohort
        members = cohort.splits["val"]
        blank = Predictions(
            samples=members,
            patients=cohort.patients[members],
            labels=cohort.labels[members],
            probabilities=np.zeros((len(members), len(cohort.classes)), np.float32),
            losses=np.zeros(len(members), np.float32),
            classes=cohort.classes,
            task=cohort.task,
        )
        report = evaluate.evaluate(blank, "val")
        if metric not in report.metric_names:
            raise errors.DatasetError(
                where="[validator] metric",
                expected=f"a metric of {cohort.task} labels: {', '.join(report.metric_names)}",
                found=metric,
                remedy=f'write metric = "{report.metric_names[0]}" under [validator]',
            )
        if metric in _RANKING:
            report.metric(metric)


def build_steps(
    config: TrainerConfig,
    data: PreparedData,
    network: build.BuiltNetwork,
    workers: group.AbstractGroup,
) -> step.StepParts:
    """What leader and followers of a training have in common."""
    values = flat.FlatParameters(network.network)
    return step.StepParts(
        engine=config.engine,
        options=config.optimizer,
        network=network.network,
        flat=values,
        feed=data.feed,
        loss=build_loss(config, data),
        optimizer=parts.build_part(config.optimizer, values.length),
        arithmetic=arithmetics.build_arithmetic(config.engine, workers),
    )


def build_trainer(
    config: TrainerConfig,
    data: PreparedData,
    network: build.BuiltNetwork,
    experiment_digest: str,
    checkpoints: store.CheckpointStore,
    seen_by: witness.Witness,
    workers: group.AbstractGroup = ALONE,
) -> tuple[loop.Trainer, Evaluation]:
    """Everything that training needs, put together."""
    steps = build_steps(config, data, network, workers)
    evaluation = Evaluation(config=config, data=data, loss=steps.loss, arithmetic=steps.arithmetic)
    made = loop.TrainingParts(
        steps=steps,
        experiment_digest=experiment_digest,
        selection=config.validator,
        schedule=parts.build_part(config.schedule, span(config, data)),
        store=checkpoints,
        witness=seen_by,
        validate=evaluation.validate,
        group=workers,
    )
    return loop.Trainer(made), evaluation
