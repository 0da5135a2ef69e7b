# SPDX-License-Identifier: Apache-2.0
"""The first configuration is TOML that is read back as it was meant, whatever things are called.

Not tested here: that it trains (tests/story/test_init.py).
"""

import pytest

from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.experiments.first_config import text


def content(**changes):
    values = {
        "data": {"reader": "folder", "root": "images"},
        "images": {},
        "labels": {"file": "l.csv", "id_column": "id", "scheme": "class", "column": "kind"},
        "split": {"seed": 3, "validation_fraction": 0.2, "test_fraction": 0.2},
        "shapes": [(100, 80, 1)],
        "tokenizer": {},
        "patches": {},
        "task": "multiclass",
        "is_ranked": True,
        "num_training": 100,
        "reasons": ["a", "b"],
        **changes,
    }
    return text.Content(**values)


def config(**changes):
    return trainer_config.parse_config(text.encode(content(**changes)), "x.toml")


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "line\nbreak", "\x7f", "größe", "#"])
def test_every_name_survives(name):
    made = config(
        data={"reader": "folder", "root": name},
        labels={"file": "l.csv", "id_column": name, "scheme": "class", "column": "kind"},
        reasons=[f"column {name}"],
    )
    assert made.data.root == name
    assert made.data.labels.id_column == name


@pytest.mark.parametrize("count", [*range(4, 140), 1000, 1001, 1025])
def test_no_batch_has_one_sample(count):
    size = config(num_training=count).engine.batch_size
    assert size >= 2
    assert count % size != 1


@pytest.mark.parametrize(
    ("shapes", "resize", "layers"),
    [
        ([(100, 80, 1)], 64, 4),
        ([(28, 28, 1)], 0, 3),
        ([(28, 28, 1), (20, 20, 1)], 64, 4),
        ([(8, 256, 256, 1)], 32, 3),
        ([(8, 16, 16, 1)], 0, 2),
        ([(2, 16, 16, 1)], 0, 1),
    ],
)
def test_size_and_depth_follow_from_the_images(shapes, resize, layers):
    made = config(shapes=shapes)
    assert (made.tokenizer.resize, made.model.layers) == (resize, layers)


def test_gray_beside_colour_becomes_gray():
    assert config(shapes=[(20, 20, 1), (20, 20, 3)]).tokenizer.channels == 1


@pytest.mark.parametrize(
    ("task", "is_ranked", "metric", "loss"),
    [
        ("multiclass", True, "auroc", "cross_entropy"),
        ("multilabel", True, "auroc", "binary_cross_entropy"),
        ("multilabel", False, "loss", "binary_cross_entropy"),
        ("regression", True, "mae", "mean_squared_error"),
    ],
)
def test_metric_and_loss_fit_the_task(task, is_ranked, metric, loss):
    made = config(task=task, is_ranked=is_ranked)
    assert (made.validator.metric, made.optimizer.loss.name) == (metric, loss)
