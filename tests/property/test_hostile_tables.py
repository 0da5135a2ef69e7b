# SPDX-License-Identifier: Apache-2.0
"""Tables and split files with any damage are read or refused by name, never anything else.

Not tested here: images with damage.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.config import labels
from tiny_agent_trainer.tokenizer.images.image import Item
from tiny_agent_trainer.tokenizer.labels import attach, tables
from tiny_agent_trainer.tokenizer.samples import SPLITS, SourceFile
from tiny_agent_trainer.tokenizer.splits import split_file

FILE = SourceFile(path="labels.csv", size_bytes=0, sha256="")
ITEMS = tuple(
    Item(key=f"{i}.png", names={"file": f"{i}.png", "stem": str(i), "patient_id": f"p{i % 2}"},
         facts={}, read=pytest.fail)
    for i in range(4)
)  # fmt: skip
TABLE = (
    b'id,label,a,b,age\r\n0,no,1,-1,20.5\r\n1,yes,0,,30\r\n"2","no",1.0,-1.0,1e1\r\n3,yes,,0,40\r\n'
)
COMMON = {"file": "labels.csv", "id_column": "id", "each_image_is_a_patient": True}
SCHEMES = [
    labels.ClassOptions(column="label", **COMMON),
    labels.PipeOptions(scheme="pipe", column="label", **COMMON),
    labels.OneHotOptions(scheme="one_hot", columns=("a", "b"), **COMMON),
    labels.ChexpertOptions(
        scheme="chexpert", columns=("a", "b"), uncertain="mask", missing="negative", **COMMON
    ),
    labels.RegressionOptions(scheme="regression", column="age", **COMMON),
    labels.OrdinalOptions(scheme="ordinal", column="label", classes=("no", "yes"), **COMMON),
]
SPLIT = split_file.encode_split_file((f"{i:064x}", SPLITS[i % 3]) for i in range(4))


@st.composite
def damaged(draw, content):
    """A few bytes changed, put in, doubled or cut out."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        signs = st.sampled_from([b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"{", b"["])
        twice = st.just(bytes(data[start:end]) * 2)
        put = draw(st.one_of(st.binary(max_size=6), twice, signs))
        data[start:end] = put
    return bytes(data)


@settings(max_examples=800)
@given(damaged(TABLE), st.sampled_from(SCHEMES))
def test_a_table(content, options):
    try:
        found = attach.attach(ITEMS, tables.decode_table(content, ",", FILE), options)
    except errors.DatasetError:
        return
    assert 1 <= len(found.images) <= len(ITEMS)
    width = len(found.classes) if found.task == "multilabel" else 1
    assert all(len(image.label) == width for image in found.images)


@settings(max_examples=400)
@given(damaged(SPLIT))
def test_a_split_file(content):
    try:
        found = split_file.decode_split_file(content, "split.json")
    except errors.DatasetError:
        return
    assert set(found.values()) <= set(SPLITS)
    assert all(len(digest) == 64 for digest in found)


def test_the_undamaged_ones_are_read():
    tables.decode_table(TABLE, ",", FILE)
    assert len(split_file.decode_split_file(SPLIT, "split.json")) == 4
    read = [s for s in SCHEMES if s.scheme in ("class", "chexpert", "regression", "ordinal")]
    for options in read:
        table = tables.decode_table(TABLE, ",", FILE)
        assert len(attach.attach(ITEMS, table, options).images) == 4
