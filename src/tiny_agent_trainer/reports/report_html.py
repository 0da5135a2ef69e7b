# SPDX-License-Identifier: Apache-2.0
"""report.html: one page with figures, curves and pictures, needing no network and no script.

The words and their order stand in `report.html.j2`, the look in `report.css`; this module turns
records into the plain values that the template shows.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import groupby
from typing import TypeAlias

import jinja2
from markupsafe import Markup

from tiny_agent_trainer.reports import charts, png, svg, words
from tiny_agent_trainer.reports.cautions import best_guess, cautions
from tiny_agent_trainer.reports.measurement import Measurement
from tiny_agent_trainer.reports.picture import Picture
from tiny_agent_trainer.reports.training_summary import TrainingSummary
from tiny_agent_trainer.reports.validation_report import ClassResult, ValidationReport

Values: TypeAlias = Mapping[str, object]

_CARDS_OF_TWO = ("sensitivity", "specificity")
_CARDS_OF_MORE = ("macro_f1", "average_precision")
_SHOWN_SIDE_PX = 112
"""Small images are enlarged to about this side, in whole multiples, pixel by pixel."""


def encode_report_html(
    val: ValidationReport,
    test: ValidationReport,
    training: TrainingSummary,
    *,
    examples: Sequence[Picture] = (),
    mistakes: Sequence[Picture] = (),
) -> bytes:
    """Encode the page as UTF-8.

    Args:
        val: The validation split.
        test: The test split.
        training: What led there.
        examples: "The images as the network sees them": shown grouped by their labels, the groups
            in the order of the classes. A picture of 224 x 224 RGB adds 200 kB to the page.
        mistakes: The most confident errors of the test split, the worst first.

    Guarantees:
        Equal arguments give equal bytes. Every name is escaped; the page's own policy
        (Content-Security-Policy) forbids scripts and any request.
    """
    page = _template().render(
        val=val,
        test=test,
        training=training,
        style=Markup(_resource("report.css")),
        cards=_cards(val, test),
        headline=words.headline(test),
        positive=words.positive(test),
        cautions=cautions(val, test, training),
        decision_rule=words.decision_rule(test),
        guess=best_guess(test),
        splits=_splits(val, test, training),
        learning=[_drawn(charts.loss_chart(training)), _drawn(charts.metric_chart(training))],
        metrics=_metrics(val, test),
        classes=[_class_row(result) for result in test.results],
        curves=[_curves(*pair) for pair in zip(val.results, test.results, strict=True)],
        matrices=[_drawn(charts.confusion_chart(report)) for report in (test, val)],
        estimates=[_drawn(charts.estimates_chart(report)) for report in (test, val)],
        examples=_groups(examples, test.classes),
        mistakes=[_picture(picture) for picture in mistakes],
        explanations=words.explanations(test.task),
        class_names=[result.name for result in test.results],
        swatches=[_drawn(svg.legend_swatch(style)) for style in (0, 1)],
    )
    return page.encode()


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["value"] = words.show
    environment.filters["percent"] = words.show_percent
    environment.filters["count"] = words.show_count
    environment.filters["split_name"] = words.split_name
    environment.filters["title_of"] = words.title
    return environment.from_string(_resource("report.html.j2"))


def _resource(name: str) -> str:
    return resources.files("tiny_agent_trainer.reports").joinpath(name).read_text("utf-8")


def _drawn(chart: str) -> Markup:
    return Markup(chart)


def _cards(val: ValidationReport, test: ValidationReport) -> list[Values]:
    of_classes = _CARDS_OF_MORE if test.positive_class is None else _CARDS_OF_TWO
    more = of_classes if test.results else ()
    return [
        {
            "title": words.title(name),
            "value": words.show(test.value(name)),
            "counts": words.show_counts(test.find(name)) + _counted_images(name, test),
            "val": words.show(val.value(name)),
        }
        for name in (*words.main_metrics(test.task), *more)
    ]


def _counted_images(name: str, report: ValidationReport) -> str:
    if name not in _CARDS_OF_TWO:
        return ""
    return f" {report.classes[-1 if name == 'sensitivity' else 0]}"


def _metrics(val: ValidationReport, test: ValidationReport) -> list[Values]:
    return [
        {
            "title": words.title(metric.name),
            "val": _cell(val.find(metric.name).value, words.show_counts(val.find(metric.name))),
            "test": _cell(metric.value, words.show_counts(metric)),
        }
        for metric in test.headline
    ]


def _class_row(result: ClassResult) -> Values:
    parts = (result.sensitivity, result.specificity, result.ppv, result.npv, result.f1)
    counts = (
        result.true_positives,
        result.false_positives,
        result.false_negatives,
        result.true_negatives,
    )
    return {
        "name": result.name,
        "counts": [words.show_count(number) for number in counts],
        "cells": [_measured(part) for part in (*parts, result.auroc, result.average_precision)],
    }


def _measured(part: Measurement) -> Values:
    return _cell(part.value, words.show_counts(part))


def _cell(value: float | None, counts: str) -> Values:
    return {"value": words.show(value), "counts": counts}


def _splits(
    val: ValidationReport, test: ValidationReport, training: TrainingSummary
) -> list[Values]:
    counted = {**training.class_counts, **words.class_counts(val), **words.class_counts(test)}
    return [
        {
            "split": words.split_name(split),
            "samples": samples,
            "patients": training.num_patients[split],
            "shares": [(number, number / samples) for number in counted.get(split, ()) if samples],
        }
        for split, samples in training.num_samples.items()
    ]


def _curves(val: ClassResult, test: ClassResult) -> Values:
    return {
        "name": test.name,
        "roc": _drawn(charts.roc_chart(test.name, val, test)),
        "precision_recall": _drawn(charts.precision_recall_chart(test.name, val, test)),
        "auroc": (words.show(test.auroc.value), words.show(val.auroc.value)),
        "average_precision": (
            words.show(test.average_precision.value),
            words.show(val.average_precision.value),
        ),
    }


def _groups(pictures: Sequence[Picture], classes: Sequence[str]) -> list[Values]:
    def place(picture: Picture) -> tuple[int, str]:
        known = picture.label in classes
        return (classes.index(picture.label) if known else len(classes), picture.label)

    ordered = sorted(pictures, key=place)
    return [
        {"label": label, "pictures": [_picture(picture) for picture in group]}
        for label, group in groupby(ordered, key=lambda picture: picture.label)
    ]


def _picture(picture: Picture) -> Values:
    times = max(1, -(-_SHOWN_SIDE_PX // max(picture.width, picture.height)))
    return {
        "sample": picture.sample,
        "label": picture.label or "none",
        "predicted": picture.predicted,
        "probability": picture.probability,
        "width": picture.width * times,
        "height": picture.height * times,
        "enlarged": times > 1,
        "size": f"{picture.width} x {picture.height}",
        "uri": png.encode_data_uri(picture),
    }
