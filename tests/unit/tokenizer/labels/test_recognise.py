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
        with pytest.raises(
            errors.DatasetError, match="1 different values in 6 rows, 6 more are blank"
        ):
            values(wishes, image=IDS, kind=["a", ""] * 6)

    def test_no_cell_is_told(self):
        secret = [f"Doe^Jane{i}" for i in range(COUNT)]
        with pytest.raises(errors.DatasetError) as caught:
            values(image=IDS, name=secret)
        assert "Doe" not in str(caught.value)


def test_a_column_of_splits_is_taken():
    splits = ["train", "val", "test"] * 4
    assert values(image=IDS, kind=TURNS, split=splits)["split"] == "split"


def reasons(wishes=None, **columns):
    found = recognise.recognise(table(**columns), items(), wishes or recognise.Wishes())
    return " ".join(found.reasons)


GRADES = [str(i % 5) for i in range(COUNT)]


class TestGrades:
    """Whole numbers in a row may be names, grades or counts: it is told what was taken."""

    def test_they_are_names_unless_somebody_says_more_and_the_way_out_is_told(self):
        found = values(image=IDS, label=GRADES)
        assert found["scheme"] == "class"
        assert "names without an order" in reasons(image=IDS, label=GRADES)
        assert "--labels-as ordinal" in reasons(image=IDS, label=GRADES)

    @pytest.mark.parametrize(
        "cells", [TURNS, ["01"[i % 2] for i in range(COUNT)], ["3", "7", "9"] * 4]
    )
    def test_other_values_bring_no_such_remark(self, cells):
        assert "--labels-as" not in reasons(image=IDS, label=cells)

    def test_as_grades_they_are_listed_by_their_size(self):
        cells = [("10", "9", "2")[i % 3] for i in range(COUNT)]
        found = values(recognise.Wishes(labels_as="ordinal"), image=IDS, label=cells)
        assert (found["scheme"], found["classes"]) == ("ordinal", ["2", "9", "10"])

    def test_as_numbers_and_as_classes(self):
        for wish, scheme in (("regression", "regression"), ("classes", "class")):
            found = values(recognise.Wishes(labels_as=wish), image=IDS, label=GRADES)
            assert found["scheme"] == scheme
            assert "classes" not in found

    @pytest.mark.parametrize("cells", [TURNS, ["1", "1.0", "2"] * 4, ["1.5", "2", "3"] * 4])
    def test_an_order_that_nobody_told_is_refused(self, cells):
        with pytest.raises(errors.DatasetError, match="order is known"):
            values(recognise.Wishes(labels_as="ordinal"), image=IDS, label=cells)

    def test_words_are_no_numbers(self):
        with pytest.raises(errors.DatasetError, match="numbers alone"):
            values(recognise.Wishes(labels_as="regression"), image=IDS, label=TURNS)

    def test_several_columns_are_no_grades(self):
        ones = ["01"[i % 2] for i in range(COUNT)]
        wishes = recognise.Wishes(labels=("a", "b"), labels_as="ordinal")
        with pytest.raises(errors.UsageError, match="one label column"):
            values(wishes, image=IDS, a=ones, b=ones)


class TestBlankLabels:
    """Rows without a label are left out where a name says which column it is, and counted."""

    def test_a_telling_name(self):
        cells = ["", *TURNS[1:-1], " "]
        assert values(image=IDS, label=cells)["on_blank"] == "list"
        assert f"2 of {COUNT} rows are blank" in reasons(image=IDS, label=cells)

    def test_a_column_without_one_is_no_candidate(self):
        with pytest.raises(errors.DatasetError, match="a class, a number or findings"):
            values(image=IDS, kind=["", *TURNS[1:]])

    def test_a_named_column(self):
        found = values(recognise.Wishes(labels=("kind",)), image=IDS, kind=["", *TURNS[1:]])
        assert (found["scheme"], found["on_blank"]) == ("class", "list")

    def test_nothing_is_said_where_none_is_blank(self):
        assert "on_blank" not in values(image=IDS, label=TURNS)
