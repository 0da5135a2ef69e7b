# SPDX-License-Identifier: Apache-2.0
"""Rows find their images, images their patients, and nothing is lost in silence.

Not tested here: what cells mean (test_schemes.py), decoding.
"""

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import labels
from tiny_agent_trainer.tokenizer.images.image import Item
from tiny_agent_trainer.tokenizer.labels import attach, join, tables, unmatched
from tiny_agent_trainer.tokenizer.samples import SourceFile

FILE = SourceFile(path="labels.csv", size_bytes=0, sha256="")


def item(key, **names):
    stem = key.rsplit("/", 1)[-1].split(".")[0]
    return Item(key=key, names={"file": key, "stem": stem, **names}, facts={}, read=pytest.fail)


def table(*lines):
    return tables.decode_table("".join(f"{line}\n" for line in lines).encode(), ",", FILE)


def options(**changes):
    values = {"file": "labels.csv", "id_column": "id", "column": "label",
              "patient_column": "patient"}  # fmt: skip
    return labels.ClassOptions(**{**values, **changes})


ITEMS = [item("a/1.png", patient_id="P1"), item("a/2.png", patient_id="P2")]
SOUND = table("id,label,patient", "1,no,x", "2,yes,y")


class TestJoin:
    @pytest.mark.parametrize(
        ("ids", "kind"), [(("1", "2"), "stem"), (("a/1.png", "a/2.png"), "file"),
                          (("P1", "P2"), "patient_id")]
    )  # fmt: skip
    def test_auto_finds_the_kind_of_name_that_fits_all(self, ids, kind):
        joined = join.join(ITEMS, table("id", *ids), "id", "auto")
        assert joined.id_name == kind
        assert [rows[0].cells[0] for rows in joined.rows] == list(ids)

    def test_auto_tells_what_each_kind_would_match_when_none_fits(self):
        with pytest.raises(errors.DatasetError) as caught:
            join.join(ITEMS, table("id", "1", "3", "P1"), "id", "auto")
        assert "no kind of name fits all" in str(caught.value)
        assert "stem: 1 of 3 rows, 1 of 2 images" in str(caught.value)
        assert "patient_id: 1 of 3 rows, 1 of 2 images" in str(caught.value)
        assert "file: 0 of 3 rows, 0 of 2 images" in str(caught.value)

    def test_auto_refuses_two_kinds_that_fit_and_differ(self):
        crossed = [item("1.png", patient_id="2"), item("2.png", patient_id="1")]
        with pytest.raises(errors.DatasetError, match="several kinds of names fit, and differ"):
            join.join(crossed, table("id", "1", "2"), "id", "auto")

    def test_two_kinds_that_agree_are_one(self):
        same = [item("1.png", patient_id="1"), item("2.png", patient_id="2")]
        assert join.join(same, table("id", "1", "2"), "id", "auto").id_name == "stem"

    def test_a_patients_row_speaks_of_all_images_of_the_patient(self):
        both = [item("1.png", patient_id="P"), item("2.png", patient_id="P")]
        joined = join.join(both, table("id", "P"), "id", "auto")
        assert joined.id_name == "patient_id"
        assert joined.is_complete

    def test_a_stem_of_two_images_is_refused(self):
        both = [item("a/1.png"), item("b/1.png")]
        with pytest.raises(errors.DatasetError, match=r"'1' is the stem of 2 images: a/1.png"):
            join.join(both, table("id", "1"), "id", "stem")

    def test_an_empty_id_is_refused_with_its_line(self):
        with pytest.raises(errors.DatasetError, match="line 3: no id"):
            join.join(ITEMS, table("id,x", "1,a", ",b"), "id", "stem")


class TestAttach:
    def test_labels_patients_attributes_and_splits_arrive(self):
        whole = table("id,label,patient,sex,fold", "2,yes,y,F,test", "1,no,x,M,train")
        found = attach.attach(ITEMS, whole, options(attributes=("sex",)), "fold")
        assert (found.task, found.classes) == ("multiclass", ("no", "yes"))
        read = [(i.item.key, i.label, i.patient, i.attributes, i.split) for i in found.images]
        assert read == [
            ("a/1.png", (0,), "x", {"sex": "M"}, "train"),
            ("a/2.png", (1,), "y", {"sex": "F"}, "test"),
        ]

    def test_patients_come_from_the_files_where_no_column_is_named(self):
        found = attach.attach(ITEMS, SOUND, options(patient_column=""))
        assert [image.patient for image in found.images] == ["P1", "P2"]

    def test_images_without_patient_are_refused_unless_the_configuration_says_so(self):
        nameless = [item("1.png"), item("2.png")]
        with pytest.raises(errors.DatasetError, match="2 of 2 images without") as caught:
            attach.attach(nameless, SOUND, options(patient_column=""))
        assert "each_image_is_a_patient" in caught.value.remedy
        own = options(patient_column="", each_image_is_a_patient=True)
        assert [i.patient for i in attach.attach(nameless, SOUND, own).images] == ["1.png", "2.png"]

    def test_several_rows_of_an_image_must_agree(self):
        boxes = table("id,label,patient", "1,no,x", "1,yes,x", "2,yes,y", "2,yes,z")
        with pytest.raises(errors.DatasetError) as caught:
            attach.attach(ITEMS, boxes, options())
        assert "lines 2, 3: rows of one image that say 'no' and 'yes'" in str(caught.value)
        assert "lines 4, 5: one image with several 'patient'" in str(caught.value)

    def test_boxes_of_an_image_are_united_for_findings(self):
        boxes = table("id,label,patient", "1,Mass,x", "1,Edema,x", "2,No Finding,y")
        pipe = labels.PipeOptions(scheme="pipe", **options().model_dump(exclude={"scheme"}))
        found = attach.attach(ITEMS, boxes, pipe)
        assert [image.label for image in found.images] == [(1, 1), (0, 0)]

    def test_every_faulty_line_is_told_at_once(self):
        with pytest.raises(errors.DatasetError, match="2 faults") as caught:
            attach.attach(ITEMS, table("id,label,patient", "1,,x", "2,yes,"), options())
        assert "line 2: no class" in str(caught.value)
        assert "line 3: no patient" in str(caught.value)

    def test_a_table_that_speaks_of_no_image_is_refused(self):
        with pytest.raises(errors.DatasetError, match="0 of 1 rows"):
            attach.attach(ITEMS, table("id,label,patient", "9,no,x"), options(id_name="stem"))

    def test_missing_columns_are_named(self):
        with pytest.raises(errors.DatasetError, match="columns sex"):
            attach.attach(ITEMS, SOUND, options(attributes=("sex",)))


class TestUnmatched:
    """Nothing is dropped in silence."""

    def found(self):
        items = [*ITEMS, item("a/3.png")]
        rows = table("id,label,patient", "1,no,x", "2,yes,y", "7,no,z")
        return attach.attach(items, rows, options(id_name="stem"))

    def test_either_side_is_listed(self):
        found = self.found()
        assert found.without_row == ("a/3.png",)
        assert found.without_image == ("line 4: 7",)

    def test_refusing_counts_them_and_says_where_the_whole_list_is(self, tmp_path):
        with pytest.raises(errors.DatasetError) as caught:
            unmatched.require_none(self.found(), tmp_path)
        for part in ("1 images without row (a/3.png)", "1 rows without image (line 4: 7)",
                     ".tiny-agent-trainer/unmatched.txt"):  # fmt: skip
            assert part in str(caught.value)
        written = (tmp_path / ".tiny-agent-trainer" / "unmatched.txt").read_text()
        assert written == "image without row: a/3.png\nrow without image: line 4: 7\n"

    def test_a_folder_that_cannot_be_written_is_said(self, tmp_path):
        (tmp_path / ".tiny-agent-trainer").write_text("a file, not a folder")
        with pytest.raises(errors.DatasetError, match="The whole list: not written"):
            unmatched.require_none(self.found(), tmp_path)

    def test_a_report_counts_them_without_names(self):
        lines = list(unmatched.remarks(self.found()))
        assert [line.split()[0] for line in lines] == ["1", "1"]
        assert not any("a/3.png" in line or "7" in line for line in lines)
