# SPDX-License-Identifier: Apache-2.0
"""metrics.json is canonical and holds every count.

Not tested here: the meaning of the figures (tests/reference).
"""

import dataclasses

import pytest

from tiny_agent_trainer import canonical
from tiny_agent_trainer.reports import run_summary
from tiny_agent_trainer.reports.metrics_json import encode_metrics


def decoded(report_of, training_of):
    data = encode_metrics(report_of("val"), report_of("test"), training_of())
    return canonical.decode_canonical(data)


def test_is_one_canonical_line(report_of, training_of):
    """`decode_canonical` refuses any other spelling."""
    data = encode_metrics(report_of("val"), report_of("test"), training_of())
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1
    assert canonical.encode_line(canonical.decode_canonical(data)) == data


def test_holds_counts_and_values(report_of, training_of):
    value = decoded(report_of, training_of)
    assert value["schema"] == "metrics-v1"
    assert sorted(value["splits"]) == ["test", "val"]
    test = value["splits"]["test"]
    assert test["metrics"]["accuracy"]["numerator"] == 141
    assert test["confusion"] == [[40, 10], [5, 101]]
    assert test["classes"][1]["metrics"]["sensitivity"]["value"] == 101 / 106
    assert test["classes"][1]["curve"]["true_positives"] == [101, 106]
    assert test["metrics"]["average_precision"]["denominator"] == str(106 << 64)


def test_undefined_is_null_with_its_reason(report_of, training_of):
    absent = report_of("test", cells=((50, 0), (0, 0)))
    value = canonical.decode(encode_metrics(report_of("val"), absent, training_of()))
    metric = value["splits"]["test"]["metrics"]["auroc"]
    assert metric["value"] is None
    assert "there are no pairs" in metric["undefined_because"]


def test_refuses_a_loss_that_is_not_a_number(report_of, training_of):
    with pytest.raises(ValueError, match=r"."):
        encode_metrics(report_of("val"), report_of("test"), training_of(best_value=float("nan")))


def test_a_label_says_of_how_many_samples_it_is_known(report_of, training_of):
    report = report_of("test")
    labels = dataclasses.replace(report, task="multilabel", confusion=None, num_samples=200)
    value = canonical.decode(encode_metrics(report_of("val"), labels, training_of()))
    split = value["splits"]["test"]
    assert [label["num_known"] for label in split["classes"]] == [156, 156]
    assert labels.num_unknown == (44, 44)
    assert "num_known" not in value["splits"]["val"]["classes"][0]


def test_remarks_on_the_data_stand_there_only_where_there_are_any(report_of, training_of):
    assert "remarks" not in decoded(report_of, training_of)["training"]
    training = training_of(remarks=("3 images were left out.",))
    value = canonical.decode(encode_metrics(report_of("val"), report_of("test"), training))
    assert value["training"]["remarks"] == ["3 images were left out."]
    summary = run_summary.encode_run_summary(report_of("val"), report_of("test"), training)
    assert b"3 images were left out." in summary
