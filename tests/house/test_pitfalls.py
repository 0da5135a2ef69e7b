# SPDX-License-Identifier: Apache-2.0
"""Every pitfall has a test, and every test that `docs/pitfalls.md` names exists.

Not tested here: that these tests are good ones.
"""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/pitfalls.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


def test_there_are_twenty_each_with_a_test():
    rows = re.findall(r"^\| (\d+) \|(.*)$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    assert all("::test_" in row for _, row in rows)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_test_exists(path, name):
    text = (REPOSITORY / "tests" / path).read_text(encoding="utf-8")
    assert re.search(rf"^ *def {name}\(", text, re.MULTILINE)
