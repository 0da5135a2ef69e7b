# SPDX-License-Identifier: Apache-2.0
"""Every kind of label goes from a table to a sealed run with a full report, in either arithmetic.

Not tested here: what schemes make of a table (tests/unit/tokenizer/labels), what the metrics are
(tests/unit/validator), decoding of images.
"""

import csv
import json

import numpy as np
import plain_folder
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.cli import console, listing
from tiny_agent_trainer.experiments.run import run_experiment
from tiny_agent_trainer.experiments.run_directory.integrity import require_sound
from tiny_agent_trainer.meta import chronicle_reader

COUNT = 40
KINDS = {
    "class": ('column = "finding"\n', "cross_entropy", "auroc"),
    "pipe": ('scheme = "pipe"\ncolumn = "findings"\n', "binary_cross_entropy", "auroc"),
    "chexpert": (
        'scheme = "chexpert"\ncolumns = ["Edema", "Mass"]\nuncertain = "mask"\nmissing = "mask"\n',
        "binary_cross_entropy",
        "auroc",
    ),
    "regression": ('scheme = "regression"\ncolumn = "age"\n', "mean_squared_error", "mae"),
    "ordinal": (
        'scheme = "ordinal"\ncolumn = "grade"\nclasses = ["none", "mild", "severe"]\n',
        "ordinal",
        "quadratic_weighted_kappa",
    ),
}


def config(kind, arithmetic="native", loss=None, metric=None, more=""):
    scheme, own_loss, own_metric = KINDS[kind]
    return (
        f'[engine]\nepochs = 2\nbatch_size = 8\nshard_size = 4\narithmetic = "{arithmetic}"\n'
        '[data]\nreader = "folder"\n[data.labels]\nfile = "labels.csv"\nid_column = "image"\n'
        f"{scheme}{more}[data.split]\nvalidation_fraction = 0.3\ntest_fraction = 0.3\n"
        '[model]\nname = "cnn"\nwidth = 4\nlayers = 2\n'
        f'[validator]\nmetric = "{metric or own_metric}"\n'
        f'[optimizer.loss]\nname = "{loss or own_loss}"\n'
    )


@pytest.fixture
def train(tmp_path, monkeypatch):
    plain_folder.install(monkeypatch)
    root = tmp_path / "data"
    root.mkdir()
    images = plain_folder.pictures(COUNT)
    header = ("image", "finding", "findings", "Edema", "Mass", "age", "grade")
    rows = []
    for i in range(COUNT):
        images[i] //= 2
        images[i, : 5 * (i % 3 + 1)] += 20 * (i % 3 + 1)
        grade = ("none", "mild", "severe")[i % 3]
        findings = ("No Finding", "Mass", "Edema|Mass", "Edema")[i % 4]
        edema, mass = ("1", "0", "-1", "")[i % 4], ("0", "1", "")[i % 3]
        rows.append((f"p{i}_0", ("no", "yes")[i % 2], findings, edema, mass, 20 + i * 1.5, grade))
    named = {f"p{i}_0.npy": image for i, image in enumerate(images)}
    plain_folder.write(root, named, header, rows)

    def train(text):
        path = tmp_path / "kind.toml"
        path.write_text(text)
        return run_experiment(path, results_dir=tmp_path / "results", data_dir=root)

    return train


def rows_of(finished, split="test"):
    with (finished.path / f"predictions_{split}.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def metrics_of(finished):
    return json.loads((finished.path / "metrics.json").read_text())


@pytest.mark.parametrize("arithmetic", ["native", "exact"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_in_a_full_report(train, kind, arithmetic):
    finished = train(config(kind, arithmetic))
    assert finished.outcome == "completed"
    require_sound(finished.path)
    metrics = metrics_of(finished)
    metric = KINDS[kind][2]
    for split in ("val", "test"):
        assert isinstance(metrics["splits"][split]["metrics"][metric]["value"], float)
        assert metrics["splits"][split]["num_samples"] == len(rows_of(finished, split))
    assert all(isinstance(e["val_metrics"][metric], float) for e in metrics["training"]["history"])
    page = (finished.path / "report.html").read_text()
    assert "<svg" in page
    assert "<img" in page
    assert finished.test.value(metric) == metrics["splits"]["test"]["metrics"][metric]["value"]
    records = chronicle_reader.read(finished.path / "chronicle.cmeta").records
    assert any(metric in getattr(record, "metrics", {}) for record in records)


@pytest.mark.parametrize("kind", ["class", "regression", "ordinal"])
def test_the_last_json_line_tells_the_metric_that_was_chosen(train, kind, capsys):
    finished = train(config(kind))
    console.build_console(quiet=False, log_json=True).ended(finished)
    event = json.loads(capsys.readouterr().out)
    assert event["metric"] == KINDS[kind][2]
    assert event["test_value"] == finished.test.value(KINDS[kind][2])
    assert isinstance(event["test_value"], float)
    assert "test_auroc" not in event


@pytest.mark.parametrize("kind", ["chexpert", "regression", "ordinal"])
def test_in_exact_arithmetic_threads_change_no_bit(train, kind):
    alone = train(config(kind, "exact"))
    together = train(config(kind, "exact").replace("[data]", "threads = 2\n[data]", 1))
    assert together.run_digest == alone.run_digest


def test_unknown_labels_are_blank_in_predictions_and_counted_in_the_report(train):
    finished = train(config("chexpert"))
    rows = rows_of(finished)
    classes = {c["name"]: c for c in metrics_of(finished)["splits"]["test"]["classes"]}
    for name in ("Edema", "Mass"):
        known = [row for row in rows if row[f"label_{name}"] != ""]
        assert 0 < len(known) < len(rows)
        assert classes[name]["num_known"] == len(known)
        counts = ("true_positives", "false_positives", "false_negatives", "true_negatives")
        assert sum(classes[name][count] for count in counts) == len(known)
    assert "Unknown labels of the test split" in (finished.path / "run_summary.md").read_text()


def test_the_list_shows_the_metric_that_chose_the_epoch(train, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    finished = train(config("regression"))
    value = metrics_of(finished)["splits"]["test"]["metrics"]["mae"]["value"]
    listing.list_runs(finished.path.parent)
    assert f"Mean absolute error {value:.4f}" in capsys.readouterr().out


def test_estimates_are_in_the_unit_of_the_target(train):
    finished = train(config("regression"))
    rows = rows_of(finished)
    said = [float(row["predicted"]) for row in rows]
    assert all(float(row["label"]) in {20 + 1.5 * i for i in range(COUNT)} for row in rows)
    assert 20 < np.mean(said) < 80
    mae = np.mean([abs(float(row["label"]) - v) for row, v in zip(rows, said, strict=True)])
    assert finished.test.value("mae") == pytest.approx(mae)
    page = (finished.path / "report.html").read_text()
    assert "Confusion matrix" not in page
    assert "Largest errors" in page
    drawing = page.split("Estimates of age over true values, test split")[2].split("</svg>")[0]
    assert drawing.count("<circle") == len(rows)
    assert "The epoch with the lowest mae on the validation split" in page
    history = metrics_of(finished)["training"]
    best = min(epoch["val_metrics"]["mae"] for epoch in history["history"])
    assert history["best_value"] == best


def test_grades_have_a_confusion_matrix_in_their_order(train):
    finished = train(config("ordinal"))
    split = metrics_of(finished)["splits"]["test"]
    assert [c["name"] for c in split["classes"]] == ["none", "mild", "severe"]
    assert sum(map(sum, split["confusion"])) == split["num_samples"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "cross_entropy"}, 'write name = "mean_squared_error"'),
        ({"metric": "auroc"}, 'write metric = "mae"'),
    ],
)
def test_a_loss_or_metric_of_another_kind_is_refused_with_the_right_one(train, changes, said):
    with pytest.raises(errors.DatasetError, match=said):
        train(config("regression", **changes))
