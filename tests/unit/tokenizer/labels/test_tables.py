# SPDX-License-Identifier: Apache-2.0
"""A table is read as it stands, or refused with all its faults and their lines.

Not tested here: what cells mean (test_schemes.py), hostile tables in bulk (tests/property).
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer.labels import tables
from tiny_agent_trainer.tokenizer.samples import SourceFile

FILE = SourceFile(path="labels.csv", size_bytes=0, sha256="")


def decode(text, delimiter=","):
    content = text if isinstance(text, bytes) else text.encode()
    return tables.decode_table(content, delimiter, FILE)


def rows_of(table):
    return [row.cells for row in table.rows]


class TestReading:
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_with_and_without_byte_order_mark_and_either_end_of_lines(self, mark, end):
        table = decode(f"{mark}id,label{end}a,1{end}b,2{end}")
        assert table.columns == ("id", "label")
        assert rows_of(table) == [("a", "1"), ("b", "2")]

    def test_tabs_separate_where_the_name_says_so(self, tmp_path):
        (tmp_path / "x.tsv").write_text("id\tlabel\na,b\t1\n")
        assert rows_of(tables.read_table(tmp_path, "x.tsv")) == [("a,b", "1")]

    def test_quoted_cells_may_hold_delimiters_quotes_and_line_ends(self):
        table = decode('id,label\n"a,""x""\nb",1\nc,2\n')
        assert rows_of(table) == [('a,"x"\nb', "1"), ("c", "2")]
        assert [row.line for row in table.rows] == [2, 4]

    def test_cells_are_as_they_stand_and_blank_lines_are_left_out(self):
        table = decode("id,label\n\n a ,\n\n")
        assert rows_of(table) == [(" a ", "")]
        assert table.rows[0].line == 3

    def test_the_file_is_an_input_with_its_digest(self, tmp_path):
        (tmp_path / "x.csv").write_text("id,label\na,1\n")
        file = tables.read_table(tmp_path, "x.csv").file
        assert (file.path, file.size_bytes) == ("x.csv", 13)
        assert len(file.sha256) == 64

    @given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"),
                                     min_size=1), min_size=2, max_size=2), min_size=1))  # fmt: skip
    def test_what_was_quoted_is_read_back(self, cells):
        quoted = [",".join('"' + c.replace('"', '""') + '"' for c in row) for row in cells]
        table = decode("a,b\n" + "\n".join(quoted) + "\n")
        assert rows_of(table) == [tuple(row) for row in cells]

    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, content):
        try:
            table = decode(content)
        except errors.DatasetError:
            return
        assert all(len(row.cells) == len(table.columns) for row in table.rows)


class TestRefusals:
    def test_all_faults_are_told_at_once_with_their_lines(self):
        with pytest.raises(errors.DatasetError) as caught:
            decode("id,label,label\na,1\nb,2,3\nc,1,2,3\n")
        text = str(caught.value)
        assert "3 faults" in text
        assert "line 1: more than once: label" in text
        assert "line 2: 2 cells, where the header has 3" in text
        assert "line 4: 4 cells" in text

    def test_many_faults_are_counted_and_the_first_twenty_shown(self):
        with pytest.raises(errors.DatasetError, match="30 faults") as caught:
            decode("id,label\n" + "a\n" * 30)
        assert str(caught.value).count("1 cells") == 20
        assert "and 10 more" in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "nothing"),
            (b"id,label\n", "none"),
            (b"id,label\n\xff,1\n", "byte 9"),
            (b"id, \na,1\n", "a column without a name"),
            (b'id,label\n"a,1\n', "line 2"),
            (b'id,label\n"a"b,1\n', "line 2"),
            (b"id,label\na\0,1\n", "line 2: a NUL"),
            (b"id,label\n" + b"a" * 200_000 + b",1\n", "line 2"),
        ],
    )
    def test_what_is_no_table(self, content, said):
        with pytest.raises(errors.DatasetError) as caught:
            decode(content)
        assert said in caught.value.found

    def test_a_missing_column_is_named_beside_those_there_are(self):
        with pytest.raises(errors.DatasetError, match="only the columns id, label") as caught:
            decode("id,label\na,1\n").cells("sex")
        assert "columns sex" in caught.value.expected

    def test_a_table_too_large_is_not_read(self, tmp_path, monkeypatch):
        (tmp_path / "x.csv").write_text("id,label\na,1\n")
        monkeypatch.setattr(tables, "SIZE_LIMIT_BYTES", 12)
        with pytest.raises(errors.DatasetError, match="at most 12 bytes"):
            tables.read_table(tmp_path, "x.csv")

    @pytest.mark.parametrize("name", ["../x.csv", "link.csv", "\0.csv"])
    def test_no_path_leads_out_of_the_root(self, tmp_path, name):
        root = tmp_path / "root"
        root.mkdir()
        (tmp_path / "x.csv").write_text("id,label\na,1\n")
        (root / "link.csv").symlink_to(tmp_path / "x.csv")
        with pytest.raises(errors.DatasetError, match="inside the data root"):
            tables.read_table(root, name)

    def test_an_absent_table_and_an_unknown_ending(self, tmp_path):
        with pytest.raises(errors.DatasetMissingError, match=r"a table x\.csv"):
            tables.read_table(tmp_path, "x.csv")
        with pytest.raises(errors.DatasetError, match=r"\.csv, \.tsv or \.tab"):
            tables.read_table(tmp_path, "x.xlsx")
