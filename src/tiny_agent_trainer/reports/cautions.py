# SPDX-License-Identifier: Apache-2.0
"""What a reader has to know before believing a figure: small splits, absent classes, baselines."""

from collections.abc import Iterator

from tiny_agent_trainer.reports import words
from tiny_agent_trainer.reports.training_summary import TrainingSummary
from tiny_agent_trainer.reports.validation_report import ValidationReport

SMALL_SPLIT_SAMPLES = 1000
"""Below it, one sample moves accuracy by more than the third decimal that is printed."""
LEAKS_SHOWN = 10
"""Leaks that are named one by one; `data/manifest.json` lists all."""
SMALL_CLASS_SAMPLES = 30
"""Below it, one sample moves a class's sensitivity by more than three points."""


def cautions(
    val: ValidationReport, test: ValidationReport, training: TrainingSummary
) -> tuple[str, ...]:
    """All cautions about a run, the gravest first, as sentences."""
    reports = (test, val)
    found = [
        *_leaks(training),
        *training.remarks,
        *(line for report in reports for line in _unknown(report)),
        *(line for report in reports for line in _undefined(report)),
        *(line for report in reports for line in _baseline(report)),
        *(line for report in reports for line in _never_called(report)),
        *(line for report in reports for line in _small(report)),
        *_clustered(test),
        *_unfinished(training),
    ]
    return tuple(found)


def _leaks(training: TrainingSummary) -> Iterator[str]:
    if training.leaks:
        listed = "; ".join(training.leaks[:LEAKS_SHOWN])
        more = len(training.leaks) - LEAKS_SHOWN
        behind = f"; and {more} more" if more > 0 else ""
        yield f"The splits leak, which the configuration allows: {listed}{behind}."


def best_guess(report: ValidationReport) -> tuple[str, float] | None:
    """What always giving the most frequent class would score; None without one class each."""
    if report.confusion is None:
        return None
    largest = max(report.results, key=lambda result: result.num_positives)
    return largest.name, largest.num_positives / report.num_samples


def _unknown(report: ValidationReport) -> Iterator[str]:
    pairs = zip(report.results, report.num_unknown, strict=True)
    counted = [f"{result.name} ({number})" for result, number in pairs if number]
    if counted:
        yield (
            f"Unknown labels of the {words.split(report)} count in no figure; of "
            f"{report.num_samples} images: {', '.join(counted)}."
        )


def _undefined(report: ValidationReport) -> Iterator[str]:
    absent = [result.name for result in report.results if result.num_positives == 0]
    if absent:
        yield f"The {words.split(report)} has no image of {', '.join(absent)}."
    present = [result.name for result in report.results if result.num_positives]
    if report.task == "multiclass" and len(present) == 1:
        yield f"Every image of the {words.split(report)} is {present[0]}: nothing to rank."
    undefined = [words.title(m.name) for m in report.headline if m.undefined_because is not None]
    if undefined:
        yield f"Undefined on the {words.split(report)}: {', '.join(undefined)}."


def _baseline(report: ValidationReport) -> Iterator[str]:
    if report.task == "regression":
        yield from _no_better_than_the_mean(report)
        return
    guess, accuracy = best_guess(report), report.value("accuracy")
    if guess is not None and accuracy is not None and accuracy <= guess[1]:
        yield (
            f"On the {words.split(report)} the accuracy ({words.show_percent(accuracy)}) is "
            f"not above that of always answering {guess[0]} ({words.show_percent(guess[1])})."
        )


def _no_better_than_the_mean(report: ValidationReport) -> Iterator[str]:
    r2 = report.value("r2")
    if r2 is not None and r2 <= 0:
        yield (
            f"On the {words.split(report)} the estimates are not better than always answering the "
            f"mean of its true values (R2 {words.show(r2)})."
        )


def _never_called(report: ValidationReport) -> Iterator[str]:
    never = [r.name for r in report.results if r.true_positives + r.false_positives == 0]
    if never:
        yield f"On the {words.split(report)} the model never answers {', '.join(never)}."


def _small(report: ValidationReport) -> Iterator[str]:
    if report.num_samples < SMALL_SPLIT_SAMPLES:
        points = 100 / report.num_samples
        share = f", one image is {points:.1f} points of accuracy" if report.results else ""
        yield f"The {words.split(report)} is small: n={report.num_samples}{share}."
    small = [r for r in report.results if 0 < r.num_positives < SMALL_CLASS_SAMPLES]
    if small:
        counted = ", ".join(f"{result.name} ({result.num_positives})" for result in small)
        yield f"Few images of a class in the {words.split(report)}: {counted}."


def _clustered(report: ValidationReport) -> Iterator[str]:
    if report.num_patients < report.num_samples:
        yield (
            f"The {words.show_count(report.num_samples)} images of the {words.split(report)} "
            f"come from {words.show_count(report.num_patients)} patients: images of one patient "
            f"are not independent, so the figures are less certain than n suggests."
        )


def _unfinished(training: TrainingSummary) -> Iterator[str]:
    if training.best_epoch == training.epochs_run and not training.stopped_early:
        yield (
            f"The kept epoch ({training.best_epoch}) is the last one: longer training may go on "
            f"improving."
        )
