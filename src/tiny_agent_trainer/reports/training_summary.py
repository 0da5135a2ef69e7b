# SPDX-License-Identifier: Apache-2.0
"""TrainingSummary: what was trained, on what, for how long, and which epoch was kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochHistory:
    """One epoch.

    Args:
        epoch: From 1.
        train_loss: Mean loss per training sample.
        val_loss: Mean loss per validation sample.
        val_metrics: Values on the validation split by name; None where undefined.
        learning_rate: Of the epoch's last step.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_metrics: Mapping[str, float | None]
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """A finished training, without times, hosts, paths, names or notes.

    Args:
        architecture: The network's name, such as `resnet18`.
        num_parameters: Trainable numbers.
        num_samples: Samples per split, by `train`, `val`, `test`.
        num_patients: Distinct patients per split.
        classes: In the order of the model's outputs.
        epochs_run: Epochs that were finished.
        steps_run: Optimiser steps that were taken.
        best_epoch: The epoch whose weights were kept, from 1.
        best_metric: The validation metric that chose it.
        best_value: Its value at that epoch.
        stopped_early: Whether training ended before the configured number of epochs.
        history: One entry per epoch, in order.
        experiment_digest: Configuration, data, source and library versions in one digest.
        selection_rule: How the epoch was chosen, as one sentence.
        dataset: What the samples are, such as `PneumoniaMNIST 28x28`; may be empty.
        settings: More lines for "How it was trained", such as optimiser or seed, in that order.
        class_counts: Samples per class of a split; needed only for `train`, the measured splits
            count their own.
        leaks: Samples that stand in two splits, allowed by the configuration, as sentences.
        remarks: What else is to be known of the data, as sentences, such as what was left out.
    """

    architecture: str
    num_parameters: int
    num_samples: Mapping[str, int]
    num_patients: Mapping[str, int]
    classes: tuple[str, ...]
    epochs_run: int
    steps_run: int
    best_epoch: int
    best_metric: str
    best_value: float
    stopped_early: bool
    history: tuple[EpochHistory, ...]
    experiment_digest: str
    selection_rule: str
    dataset: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    class_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    leaks: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
