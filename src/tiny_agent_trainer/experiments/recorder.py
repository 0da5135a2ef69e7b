# SPDX-License-Identifier: Apache-2.0
"""The witness of a training: writes the ledger and tells the observer."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tiny_agent_trainer import canonical
from tiny_agent_trainer.experiments import observer
from tiny_agent_trainer.meta import chronicle, records
from tiny_agent_trainer.reports.validation_report import Task, ValidationReport
from tiny_agent_trainer.training import witness

_HEADLINE: Final = (
    "auroc", "average_precision", "accuracy", "balanced_accuracy", "macro_f1", "sensitivity",
    "specificity",
)  # fmt: skip

_OF_TASKS: Final[Mapping[Task, tuple[str, ...]]] = {
    "multiclass": _HEADLINE,
    "multilabel": _HEADLINE,
    "regression": ("mae", "rmse", "r2", "pearson_r"),
    "ordinal": ("quadratic_weighted_kappa", "rank_mae", *_HEADLINE),
}

_ALWAYS: Final = (
    records.Metric(name="loss", dtype="f64", unit="1"),
    records.Metric(name="gradient_norm", dtype="f32", unit="1"),
    records.Metric(name="learning_rate", dtype="f64", unit="1"),
)


def metric_table(task: Task) -> tuple[records.Metric, ...]:
    """The metric table of a ledger; phases carry those they have."""
    own = (records.Metric(name=name, dtype="f64", unit="1") for name in _OF_TASKS[task])
    return (*_ALWAYS, *own)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How long the training is, for the observer, and which labels it learns."""

    epochs: int
    steps_per_epoch: int
    metric: str
    task: Task = "multiclass"


class LedgerWitness:
    """Writes what happens into a ledger.

    A checkpoint that the user asked for (Ctrl-C) falls where an uninterrupted run has no SEAL. It
    therefore carries the last SEAL and the records behind it; on resume the ledger is cut back to
    that SEAL and the records are written again, so the bytes come out the same.
    """

    def __init__(
        self, path: Path, experiment_digest: str, scale: Scale, told: observer.Observer
    ) -> None:
        self._path, self._scale, self._told = path, scale, told
        self._genesis = records.Genesis(
            experiment_digest=experiment_digest, metrics=metric_table(scale.task)
        )
        self._writer: chronicle.ChronicleWriter | None = None
        self._pending: list[records.CycleRecord] = []
        self._num_records = 0

    def begin(self) -> None:
        """Start a new ledger."""
        self._writer = chronicle.ChronicleWriter.create(self._path, self._genesis)

    def resume(self, mark: Mapping[str, Any]) -> None:
        """Continue the ledger from what `saw_state` put into a checkpoint."""
        seal = records.SealMark.from_json(mark["seal"])
        self._writer = chronicle.ChronicleWriter.resume(self._path, seal)
        self._num_records = seal.num_records
        for record in mark["pending"]:
            self._append(records.CycleRecord(**record))

    def saw_step(self, event: witness.StepEvent) -> None:
        """Write a training cycle."""
        metrics = {
            "loss": event.loss,
            "gradient_norm": event.gradient_norm,
            "learning_rate": event.learning_rate,
        }
        self._append(_cycle(event.step, event.epoch, "train", metrics))
        self._told.stepped(
            observer.StepNews(
                step=event.step,
                steps=self._scale.epochs * self._scale.steps_per_epoch,
                epoch=event.epoch,
                epochs=self._scale.epochs,
                loss=event.loss,
                num_images=len(event.samples),
                underflow=event.underflow,
            )
        )

    def saw_epoch(self, event: witness.EpochEvent) -> None:
        """Write an epoch's end, and its validation."""
        metrics = {"loss": event.train_loss, "learning_rate": event.learning_rate}
        self._append(_cycle(event.step, event.epoch, "epoch", metrics))
        if event.validation is not None:
            values = measured(event.validation)
            self._append(_cycle(event.step, event.epoch, "validation", values))
        self._told.ended_epoch(
            observer.EpochNews(
                epoch=event.epoch,
                epochs=self._scale.epochs,
                train_loss=event.train_loss,
                validation=event.validation,
                metric=self._scale.metric,
                best_epoch=event.best_epoch,
                best_value=event.best_value,
            )
        )

    def saw_state(self, event: witness.StateEvent) -> canonical.JsonValue:
        """Write the digests of a scheduled state and seal; say where to go on."""
        if event.is_scheduled:
            state = records.StateRecord(step=event.step, epoch=event.epoch, digests=event.digests)
            self._open_writer.append(state)
            self._num_records += 1
            seal, self._pending = self._open_writer.seal(), []
        else:
            self._open_writer.sync()
            seal = self._open_writer.last_seal
        pending = [dataclasses.asdict(record) for record in self._pending]
        return {"seal": seal.to_json(), "pending": pending}

    def wants_stop(self) -> bool:
        """Whether the observer wants to stop."""
        return self._told.wants_stop()

    def end(self, step: int, epoch: int, test: ValidationReport, status: str) -> None:
        """Write the test and close the ledger for good."""
        self._append(_cycle(step, epoch, "test", measured(test)))
        self._open_writer.end(status)

    def close(self) -> None:
        """Let go of the file."""
        if self._writer is not None:
            self._writer.close()

    @property
    def _open_writer(self) -> chronicle.ChronicleWriter:
        if self._writer is None:
            raise ValueError("the ledger was neither begun nor resumed")
        return self._writer

    def _append(self, record: records.CycleRecord) -> None:
        self._open_writer.append(record)
        self._num_records += 1
        behind = self._num_records - self._open_writer.last_seal.num_records
        self._pending = [*self._pending, record][-behind:] if behind else []


def measured(report: ValidationReport) -> dict[str, float]:
    """Loss and headline metrics of a report; what is undefined is left out."""
    values = {name: report.value(name) for name in ("loss", *_OF_TASKS[report.task])
              if name in report.metric_names}  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def _cycle(step: int, epoch: int, phase: str, metrics: Mapping[str, float]) -> records.CycleRecord:
    return records.CycleRecord(step=step, epoch=epoch, phase=phase, metrics=metrics)
