# SPDX-License-Identifier: Apache-2.0
"""The table of the Hannover chest X-rays is joined to its files and divided by patient.

Not tested here: decoding the files.
"""

import collections
import itertools

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import labels, splits
from tiny_agent_trainer.tokenizer.images.image import Item
from tiny_agent_trainer.tokenizer.labels import attach, tables
from tiny_agent_trainer.tokenizer.splits import division


@pytest.fixture
def folder(shared_data):
    return shared_data / "chest_xray_hannover"


def items_of(folder):
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.as_posix().encode())
    for path in paths:
        key = path.relative_to(folder).as_posix()
        yield Item(key=key, names={"file": key, "stem": path.stem}, facts={}, read=pytest.fail)


def options(**changes):
    values = {"file": "data.csv", "id_column": "image_id", "column": "projection",
              "patient_column": "patient_id"}  # fmt: skip
    return labels.ClassOptions(**{**values, **changes})


def attached(folder, **changes):
    table = tables.read_table(folder, "data.csv")
    return attach.attach(tuple(items_of(folder)), table, options(**changes))


def test_every_image_has_its_projection_patient_and_sex(folder):
    found = attached(folder, attributes=("sex",))
    assert found.classes == ("ap", "pa")
    assert collections.Counter(image.label for image in found.images) == {(0,): 194, (1,): 49}
    assert len({image.patient for image in found.images}) == 71
    assert {image.attributes["sex"] for image in found.images} <= {"f", "m", ""}
    assert found.without_row == found.without_image == ()


def test_five_folds_keep_patients_together_and_test_every_image_once(folder, tmp_path):
    found = attached(folder).images
    undivided = division.Undivided(
        task="multiclass",
        keys=[image.item.key for image in found],
        patients=[image.patient for image in found],
        labels=[image.label for image in found],
        pixel_digests=[""] * len(found),
        named=[""] * len(found),
    )
    tested = collections.Counter()
    for fold in range(5):
        made = splits.FoldsOptions(method="folds", fold=fold)
        chosen = division.divide(undivided, made, tmp_path)
        by_split = collections.defaultdict(set)
        for image, split in zip(found, chosen, strict=True):
            by_split[split].add(image.patient)
            tested[image.item.key] += split == "test"
        assert all(not a & b for a, b in itertools.combinations(by_split.values(), 2))
        assert {len(by_split["test"]), len(by_split["val"])} <= {14, 15}
    assert set(tested.values()) == {1}


def test_a_column_with_gaps_is_refused_with_every_line(folder):
    with pytest.raises(errors.DatasetError, match="faults") as caught:
        attached(folder, column="age")
    assert "no class" in str(caught.value)
