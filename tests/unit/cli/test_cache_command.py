# SPDX-License-Identifier: Apache-2.0
"""`cache info` counts, `cache clear` removes, and neither touches anything else.

Not tested here: what a run keeps (tests of the cache).
"""

import pytest
from typer.testing import CliRunner

from tiny_agent_trainer import errors
from tiny_agent_trainer.cli import main
from tiny_agent_trainer.tokenizer.cache import place
from tiny_agent_trainer.tokenizer.cache.store import Store


def call(*arguments):
    return CliRunner().invoke(main.app, ["cache", *arguments])


@pytest.fixture
def filled(tmp_path):
    """A cache with an image of three bytes, and a file of somebody else."""
    Store(tmp_path, 0).write("a" * 64, "entry", [b"abc"])
    (tmp_path / "mine.txt").touch()
    return tmp_path


def test_a_cache_is_counted_then_emptied(filled):
    assert "1 images, 0 datasets, 3 bytes" in call("info", "--cache", str(filled)).output
    assert call("clear", "--cache", str(filled)).output.endswith("removed\n")
    assert "0 images, 0 datasets, 0 bytes" in call("info", "--cache", str(filled)).output
    assert (filled / "mine.txt").exists()


def test_the_users_own_cache_is_the_default(monkeypatch, tmp_path):
    monkeypatch.delenv(place.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = call("info").output
    assert str(tmp_path / "tiny-agent-trainer" / "prepared") in found.replace("\n", "")
    assert "0 images" in found


def test_a_directory_that_is_not_there_is_a_fault_of_usage(tmp_path):
    assert isinstance(call("info", "--cache", str(tmp_path / "no")).exception, errors.UsageError)
