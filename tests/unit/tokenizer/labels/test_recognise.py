# SPDX-License-Identifier: Apache-2.0
"""Columns of an unknown table are recognised by told rules; two candidates are never guessed.

Not tested here: reading the table (test_tables.py) and what schemes make of it (test_schemes.py).
"""

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer.images.image import Item
from tiny_agent_trainer.tokenizer.labels import recognise, tables
from tiny_agent_trainer.tokenizer.samples import SourceFile

COUNT = 12


def items(patients=False, count=COUNT):
    found = []
    for i in range(count):
        names = {"file": f"d/{i}.dcm", "stem": str(i)}
        if patients:
            names |= {"patient_id": f"p{i // 2}", "study_uid": f"1.2.{i // 2}"}
        found.append(Item(key=f"d/{i}.dcm", names=names, facts={}, read=lambda: None))
    return found


def table(**columns):
    header = ",".join(columns)
    rows = zip(*columns.values(), strict=True)
    text = "\n".join([header, *(",".join(map(str, row)) for row in rows)])
    file = SourceFile(path="t.csv", size_bytes=0, sha256="0" * 64)
    return tables.decode_table(text.encode(), ",", file)


IDS = [str(i) for i in range(COUNT)]
TURNS = ["ab"[i % 2] for i in range(COUNT)]


def values(wishes=None, patients=False, **columns):
    found = recognise.recognise(table(**columns), items(patients), wishes or recognise.Wishes())
    return dict(found.values) | {"split": found.split_column}


class TestIds:
    def test_the_column_that_names_the_most_images(self):
        found = values(row=["x"] * COUNT, image=IDS, kind=TURNS)
        assert (found["id_column"], found["id_name"]) == ("image", "stem")

    def test_names_of_one_image_come_before_those_of_a_patient(self):
        patients = [f"p{i // 2}" for i in range(COUNT)]
        found = values(patients=True, patient=patients, image=IDS, kind=TURNS)
        assert (found["id_column"], found["id_name"]) == ("image", "stem")

    def test_rows_of_patients_are_joined_by_patient(self):
        found = values(patients=True, who=[f"p{i}" for i in range(COUNT)], kind=TURNS)
        assert (found["id_column"], found["id_name"]) == ("who", "patient_id")
        assert "patient_column" not in found

    def test_two_different_columns_that_fit_as_well_are_listed(self):
        with pytest.raises(errors.UsageError, match="one, other"):
            values(one=IDS, other=IDS[::-1], kind=TURNS)
        wishes = recognise.Wishes(id="other")
        assert values(wishes, one=IDS, other=IDS[::-1], kind=TURNS)["id_column"] == "other"

    def test_a_table_that_names_no_image_is_refused(self):
        with pytest.raises(errors.DatasetError, match="every image"):
            values(image=["none"] * COUNT, kind=TURNS)


class TestPatients:
    def test_files_come_first_then_a_name_then_nothing(self):
        assert "patient_column" not in values(patients=True, image=IDS, kind=TURNS)
        found = values(image=IDS, Patient_ID=["x"] * COUNT, kind=TURNS)
        assert found["patient_column"] == "Patient_ID"
        assert values(image=IDS, kind=TURNS)["each_image_is_a_patient"]

    def test_two_candidates_are_listed(self):
        with pytest.raises(errors.UsageError, match="patient, subject"):
            values(image=IDS, patient=TURNS, subject=TURNS, kind=TURNS)


class TestLabels:
    @pytest.mark.parametrize(
        ("cells", "scheme"),
        [
            (TURNS, "class"),
            (["1", "2"] * 6, "class"),
            ([f"{i}.5" for i in range(COUNT)], "regression"),
            ([str(i) for i in range(20, 20 + COUNT)], "regression"),
            (["Mass|Edema", "No Finding"] * 6, "pipe"),
        ],
    )
    def test_the_scheme_follows_from_the_cells(self, cells, scheme):
        found = values(image=IDS, what=cells)
        assert (found["scheme"], found["column"]) == (scheme, "what")

    def test_columns_of_findings_become_one_label(self):
        edema, mass = ["0", "1"] * 6, ["1", "0", "0"] * 4
        found = values(image=IDS, Edema=edema, Mass=mass, sex=TURNS)
        assert (found["scheme"], found["columns"]) == ("one_hot", ["Edema", "Mass"])
        found = values(image=IDS, Edema=["-1", "1", ""] * 4, Mass=mass, sex=TURNS)
        assert (found["scheme"], found["missing"]) == ("chexpert", "mask")

    def test_a_telling_name_wins(self):
        assert values(image=IDS, sex=TURNS, Diagnosis=TURNS)["column"] == "Diagnosis"

    def test_several_candidates_are_listed_and_one_can_be_named(self):
        with pytest.raises(errors.UsageError, match=r"sex \(class\), age \(regression\)"):
            values(image=IDS, sex=TURNS, age=[f"{i}.5" for i in range(COUNT)])
        assert values(recognise.Wishes(labels=("sex",)), image=IDS, sex=TURNS)["column"] == "sex"

    def test_blank_cells_are_no_label(self):
        wishes = recognise.Wishes(labels=("kind",))
        with pytest.raises(errors.DatasetError, match="6 of 12 rows blank"):
            values(wishes, image=IDS, kind=["a", ""] * 6)

    def test_no_cell_is_told(self):
        secret = [f"Doe^Jane{i}" for i in range(COUNT)]
        with pytest.raises(errors.DatasetError) as caught:
            values(image=IDS, name=secret)
        assert "Doe" not in str(caught.value)


def test_a_column_of_splits_is_taken():
    splits = ["train", "val", "test"] * 4
    assert values(image=IDS, kind=TURNS, split=splits)["split"] == "split"
