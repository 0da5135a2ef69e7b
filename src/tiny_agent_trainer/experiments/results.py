# SPDX-License-Identifier: Apache-2.0
"""The results of a finished training: predictions, metrics, summary, report."""

import dataclasses
from pathlib import Path

from torch import nn

from tiny_agent_trainer import durable
from tiny_agent_trainer.config.trainer_config import TrainerConfig
from tiny_agent_trainer.experiments import pictures, prepare
from tiny_agent_trainer.meta import chronicle, chronicle_reader, records
from tiny_agent_trainer.model import build
from tiny_agent_trainer.reports import metrics_json, report_html, run_summary
from tiny_agent_trainer.reports.training_summary import EpochHistory, TrainingSummary
from tiny_agent_trainer.reports.validation_report import ValidationReport
from tiny_agent_trainer.tokenizer.samples import SPLITS
from tiny_agent_trainer.training.checkpoint import Position
from tiny_agent_trainer.validator import evaluate, predictions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Predictions of the chosen network on both splits, and the reports on them."""

    val: ValidationReport
    test: ValidationReport
    said_of_val: predictions.Predictions
    said_of_test: predictions.Predictions


def measure(evaluation: prepare.Evaluation, network: nn.Module) -> Measured:
    """Evaluate the chosen network; the test split is looked at here and nowhere else."""
    val, test = evaluation.predict(network, "val"), evaluation.predict(network, "test")
    return Measured(
        val=evaluate.evaluate(val, "val"),
        test=evaluate.evaluate(test, "test"),
        said_of_val=val,
        said_of_test=test,
    )


def write_results(
    run: Path,
    data: prepare.PreparedData,
    measured: Measured,
    training: TrainingSummary,
) -> None:
    """Write every result but the ledger and the checkpoints.

    Raises:
        StorageError: The disk refuses; files that were written before stay.
    """
    files = {
        "predictions_val.csv": predictions.encode_csv(measured.said_of_val),
        "predictions_test.csv": predictions.encode_csv(measured.said_of_test),
        "metrics.json": metrics_json.encode_metrics(measured.val, measured.test, training),
        "run_summary.md": run_summary.encode_run_summary(measured.val, measured.test, training),
        "report.html": report_html.encode_report_html(
            measured.val,
            measured.test,
            training,
            examples=pictures.draw_examples(data.feed, measured.said_of_test),
            mistakes=pictures.draw_mistakes(data.feed, measured.said_of_test),
        ),
    }
    for name, content in files.items():
        durable.write_atomic(run / name, content)


def summarise(
    run: Path,
    config: TrainerConfig,
    data: prepare.PreparedData,
    network: build.BuiltNetwork,
    position: Position,
    experiment_digest: str,
) -> TrainingSummary:
    """What was trained, from the ledger and the last position."""
    cohort = data.cohort
    metric = config.validator.metric
    best = "highest" if config.validator.higher_is_better else "lowest"
    counts = prepare.class_counts(data)[: len(cohort.classes)]
    return TrainingSummary(
        architecture=config.model.name,
        num_parameters=network.num_parameters,
        num_samples={split: len(cohort.splits[split]) for split in SPLITS},
        num_patients={split: cohort.num_patients(split) for split in SPLITS},
        classes=cohort.classes,
        epochs_run=position.epoch,
        steps_run=position.step,
        best_epoch=position.best_epoch,
        best_metric=metric,
        best_value=float(position.best_value or 0.0),
        stopped_early=position.stopped_early,
        history=_history(run / chronicle.FILE_NAME),
        experiment_digest=experiment_digest,
        selection_rule=f"The epoch with the {best} {metric} on the validation split; "
        "of equal epochs the first. The test split was looked at once, after training.",
        dataset=cohort.name,
        settings=_settings(config, data),
        class_counts={"train": tuple(counts)},
        leaks=tuple(str(leak) for leak in cohort.leaks),
        remarks=cohort.remarks,
    )


def _settings(config: TrainerConfig, data: prepare.PreparedData) -> dict[str, str]:
    normalization = data.feed.tokenizer.normalization
    sizes = " x ".join(map(str, data.feed.tokenizer.input_shape))
    return {
        "Input": f"{config.tokenizer.kind}, {sizes}",
        "Normalisation": "mean "
        + ", ".join(f"{mean:.4f}" for mean in normalization.mean)
        + ", deviation "
        + ", ".join(f"{deviation:.4f}" for deviation in normalization.deviation)
        + (" (training split)" if config.tokenizer.normalization == "train" else " (range)"),
        "Optimiser": f"{config.optimizer.name}, learning rate {config.optimizer.lr!r}, "
        f"schedule {config.schedule.name}, weight decay {config.optimizer.weight_decay!r}",
        "Loss": config.optimizer.loss.name,
        "Batch": f"{config.engine.batch_size} samples, shards of {config.engine.samples_per_shard}",
        "base_seed": str(config.engine.base_seed),
        "Arithmetic": config.engine.arithmetic,
    }


def _history(ledger: Path) -> tuple[EpochHistory, ...]:
    """One entry per validated epoch."""
    ended: dict[int, records.CycleRecord] = {}
    history = []
    for record in chronicle_reader.read(ledger).records:
        if not isinstance(record, records.CycleRecord):
            continue
        if record.phase == "epoch":
            ended[record.epoch] = record
        elif record.phase == "validation":
            metrics = dict(record.metrics)
            history.append(
                EpochHistory(
                    epoch=record.epoch,
                    train_loss=float(ended[record.epoch].metrics["loss"]),
                    val_loss=float(metrics.pop("loss")),
                    val_metrics={name: float(value) for name, value in metrics.items()},
                    learning_rate=float(ended[record.epoch].metrics["learning_rate"]),
                )
            )
    return tuple(history)
