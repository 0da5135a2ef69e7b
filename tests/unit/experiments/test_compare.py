# SPDX-License-Identifier: Apache-2.0
"""Every comparison has a page of its own.

Not tested here: the command and its table (tests/story/test_commands.py).
"""

import pytest

from tiny_agent_trainer import canonical
from tiny_agent_trainer.experiments import compare

AUROC = "auroc"


@pytest.fixture
def make_measured_run(make_run, tmp_path):
    """The function that makes a run with an AUC, in a folder of its own."""

    def make(folder, auroc, name="exp_000_20260102T030405Z"):
        report = {"loss": 0.5, "metrics": {AUROC: {"value": auroc}}}
        metrics = {"splits": {"val": report, "test": report}}
        files = {"metrics.json": canonical.encode_line(metrics)}
        return make_run(tmp_path / folder / "results", name, files)

    return make


def write(runs, directory):
    return compare.write_comparison(compare.compare_runs(runs), directory)


def test_runs_of_the_same_names_get_pages_of_their_own(make_measured_run, tmp_path):
    one, two, three = (make_measured_run(str(i), 0.5 + i / 10) for i in range(3))
    first = write([one, two], tmp_path / "pages")
    text = first.read_text()
    second = write([one, three], tmp_path / "pages")
    assert first != second
    assert first.read_text() == text
    assert "0.6000 (+0.1000)" in text
    assert "0.7000 (+0.2000)" in second.read_text()
    assert first.name.startswith(f"{one.name}_vs_{two.name}_")


def test_the_same_comparison_again_leaves_its_page_as_it_is(make_measured_run, tmp_path):
    runs = [make_measured_run("a", 0.5), make_measured_run("b", 0.75)]
    page = write(runs, tmp_path / "pages")
    page.write_text(page.read_text() + "A note of mine.\n")
    assert write(runs, tmp_path / "pages") == page
    assert page.read_text().endswith("A note of mine.\n")
    assert write(runs[::-1], tmp_path / "pages") != page


def test_names_too_long_for_a_file_are_counted_instead(make_measured_run, tmp_path):
    names = [f"{'x' * 60}{i}_20260102T030405Z" for i in range(3)]
    runs = [make_measured_run("a", 0.5, name) for name in names]
    page = write(runs, tmp_path / "pages")
    assert page.name.startswith("3_runs_")
    assert all(name in page.read_text() for name in names)
