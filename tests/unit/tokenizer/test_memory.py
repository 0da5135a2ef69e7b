# SPDX-License-Identifier: Apache-2.0
"""Images that do not fit into memory are refused, with the bytes, before any are prepared.

Not tested here: the command with its exit code (tests/story/test_hostile_input.py), and what
training needs besides the images.
"""

import resource
import sys

import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.data import PhantomOptions
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import cohort, memory
from tiny_agent_trainer.tokenizer.phantom import PhantomReader
from tiny_agent_trainer.tokenizer.preparation import prepare, resampling


@pytest.mark.parametrize("shape", [(6, 5, 1), (6, 5, 3), (4, 6, 5, 1), (6, 5, 2)])
@pytest.mark.parametrize("options", [{}, {"resize": 7}, {"channels": 1}, {"channels": 3}])
def test_the_shape_is_the_one_that_preparing_gives(shape, options):
    section = TokenizerSection(**options)
    made = prepare.prepare(np.zeros(shape, np.uint8), section)
    assert prepare.prepared_shape(np.zeros(shape, np.uint8), section) == made.shape


@pytest.mark.parametrize(
    ("options", "needed"),
    [({}, 3 * 6 * 5 * 2), ({"channels": 3}, 3 * 3 * 6 * 5 * 2), ({"resize": 8}, (3 * 2 + 40) * 64)],
)
def test_what_fits_to_the_byte_is_let_through_and_one_byte_less_is_not(
    monkeypatch, options, needed
):
    image, section = np.zeros((6, 5, 1), np.int16), TokenizerSection(**options)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    memory.require_room(3, image, section)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(errors.DatasetError) as caught:
        memory.require_room(3, image, section)
    assert f"{needed} bytes" in caught.value.found
    assert f"{needed - 1} bytes are available" in caught.value.expected
    assert "`resize`" in caught.value.remedy


def test_nothing_is_resampled_for_a_cohort_that_cannot_be_held(monkeypatch):
    dataset = PhantomReader(PhantomOptions(patients=30, image_size=16)).read()

    def resample(*_):
        raise AssertionError("resampled before it was known to fit")

    monkeypatch.setattr(resampling, "resample_area", resample)
    with pytest.raises(errors.DatasetError, match=r"1 x 1000000 x 1000000, \d{14,} bytes"):
        cohort.build_cohort(dataset, TokenizerSection(resize=1_000_000), allow_leaks=False)


class TestAvailable:
    """What is free, within every limit."""

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch, tmp_path):
        """A machine with 3000 KiB free, 1000 KiB of swap and no limits."""
        (tmp_path / "meminfo").write_text(
            "MemTotal: 9000 kB\nMemAvailable: 3000 kB\nSwapFree: 1000 kB\n"
        )
        (tmp_path / "limit").write_text("max\n")
        monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "absent", tmp_path / "limit"))
        monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
        return tmp_path

    def test_free_memory_and_swap_count(self):
        assert memory.available_bytes() == 4000 * 1024

    def test_a_containers_limit_counts(self, machine):
        (machine / "limit").write_text("1234567\n")
        assert memory.available_bytes() == 1234567

    def test_a_limit_on_the_process_counts(self, monkeypatch):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (4321, resource.RLIM_INFINITY))
        assert memory.available_bytes() == 4321

    def test_where_nothing_is_known_nothing_is_refused(self, monkeypatch, machine):
        monkeypatch.setattr(memory, "_MEMINFO", machine / "absent")
        assert memory.available_bytes() == sys.maxsize


def test_this_machine_has_memory():
    assert 1 << 20 < memory.available_bytes() < sys.maxsize
