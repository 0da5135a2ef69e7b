# SPDX-License-Identifier: Apache-2.0
"""run_summary.md: one screen for a person."""

import re
from collections.abc import Iterable, Sequence

from tiny_agent_trainer.reports import words
from tiny_agent_trainer.reports.cautions import best_guess, cautions
from tiny_agent_trainer.reports.training_summary import TrainingSummary
from tiny_agent_trainer.reports.validation_report import ValidationReport

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#])")
_MOST_CONFUSION_CLASSES = 12
"""A wider matrix does not fit a screen; it stands in report.html."""


def encode_run_summary(
    val: ValidationReport, test: ValidationReport, training: TrainingSummary
) -> bytes:
    """Encode the summary as Markdown in UTF-8.

    Guarantees:
        Equal records give equal bytes; names with Markdown in them are escaped.
    """
    blocks = [
        _head(test),
        _bullets("Beware", cautions(val, test, training)),
        _section("Results", _results(val, test), _guess(test), words.decision_rule(test)),
        _section("Test split, per class", _per_class(test)) if test.results else "",
        _confusion(test),
        _section("Data", _data(val, test, training)),
        _bullets("Model and training", _training(training)),
        "`metrics.json` holds every count, `report.html` shows pictures and curves.",
    ]
    return ("\n\n".join(block for block in blocks if block) + "\n").encode()


def _head(test: ValidationReport) -> str:
    figures = ", ".join(
        f"{words.title(name)} **{words.show(test.value(name))}**"
        for name in words.main_metrics(test.task)[:2]
    )
    lines = [f"# Validation report\n\nTest: {figures} (n={test.num_samples}).", ""]
    lines.append(_escape(words.headline(test)))
    if words.positive(test):
        lines.append(_escape(words.positive(test)))
    return "\n".join(lines)


def _guess(test: ValidationReport) -> str:
    guess = best_guess(test)
    if guess is None:
        return ""
    share = words.show_percent(guess[1])
    return f"Always answering {_escape(guess[0])} would score {share} accuracy on the test split."


def _results(val: ValidationReport, test: ValidationReport) -> str:
    rows = [
        (
            words.title(metric.name),
            words.show(val.find(metric.name).value),
            words.show_counts(val.find(metric.name)),
            words.show(metric.value),
            words.show_counts(metric),
        )
        for metric in test.headline
    ]
    loss = ("Mean loss", words.show(val.loss, 4), "", words.show(test.loss, 4), "")
    return _table(("metric", "val", "counts", "test", "counts"), [*rows, loss])


def _per_class(test: ValidationReport) -> str:
    header = ("class", "n", "sensitivity", "specificity", "PPV", "NPV", "F1", "AUROC")
    rows = []
    for result in test.results:
        counted = (result.sensitivity, result.specificity, result.ppv, result.npv)
        cells = [f"{words.show(part.value)} ({words.show_counts(part)})" for part in counted]
        tail = (words.show(result.f1.value), words.show(result.auroc.value))
        rows.append((result.name, words.show_count(result.num_positives), *cells, *tail))
    return _table(header, rows)


def _confusion(test: ValidationReport) -> str:
    if test.confusion is None or len(test.classes) > _MOST_CONFUSION_CLASSES:
        return ""
    header = ("true class, called", *test.classes)
    rows = [
        (name, *map(words.show_count, row))
        for name, row in zip(test.classes, test.confusion, strict=True)
    ]
    return _section("Test split, confusion matrix", _table(header, rows))


def _data(val: ValidationReport, test: ValidationReport, training: TrainingSummary) -> str:
    counted = {**training.class_counts, **words.class_counts(val), **words.class_counts(test)}
    rows = []
    for split, samples in training.num_samples.items():
        patients = words.show_count(training.num_patients[split])
        known = zip(training.classes, counted.get(split, ()), strict=False)
        shares = ", ".join(f"{name} {words.show_count(number)}" for name, number in known)
        rows.append((split, words.show_count(samples), patients, shares))
    return _table(("split", "images", "patients", "per class"), rows)


def _training(training: TrainingSummary) -> list[str]:
    ending = "stopped early" if training.stopped_early else "ran to the end"
    lines = [f"Images: {training.dataset}"] if training.dataset else []
    lines += [
        f"Network: {training.architecture}, {words.show_count(training.num_parameters)} parameters",
        f"Training: {training.epochs_run} epochs, {words.show_count(training.steps_run)} steps, "
        f"{ending}",
        f"Kept: epoch {training.best_epoch}, {words.title(training.best_metric)} "
        f"{words.show(training.best_value, 4)} on the validation split. {training.selection_rule}",
    ]
    lines += [f"{name}: {value}" for name, value in training.settings.items()]
    return [*lines, f"Experiment: {training.experiment_digest}"]


def _section(heading: str, *blocks: str) -> str:
    return "\n\n".join([f"## {heading}", *(block for block in blocks if block)])


def _bullets(heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return _section(heading, "\n".join(f"- {_escape(line)}" for line in lines))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    first, rule, *rest = lines
    written = [_row(first), "|" + "|".join(rule) + "|", *(_row(row) for row in rest)]
    return "\n".join(written)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
