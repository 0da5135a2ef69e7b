# SPDX-License-Identifier: Apache-2.0
"""Values that meet in one place: the last one stays, or all are added exactly.

Not tested here: gradients of gathering (test_layers.py).
"""

import pytest
import torch

from tiny_agent_trainer.exact import mode, threads


class TestIndexPut:
    """Of values written to one place, the last in the order of indices stays."""

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_the_last_stays(self, number):
        threads.set_threads(number)
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            with mode.arithmetic():
                z = torch.zeros(10)
                z[torch.zeros(200_000, dtype=torch.int64)] = torch.arange(200_000.0)
        finally:
            torch.set_num_threads(before)
        assert z.tolist() == [199_999.0] + [0.0] * 9

    def test_layout_has_no_influence(self):
        index = torch.tensor([[0, 1, 0], [1, 0, 1]])
        values = torch.arange(6.0).view(2, 3)
        for laid_out in (values, values.t().contiguous().t()):
            with mode.arithmetic():
                z = torch.zeros(2)
                z[index] = laid_out
            assert z.tolist() == [4.0, 5.0]

    def test_masks_and_slices(self):
        with mode.arithmetic():
            z = torch.zeros(2, 3)
            z[torch.tensor([[True, False, True], [False, False, True]])] = torch.tensor([1.0, 2, 3])
            z[:, torch.tensor([1])] = 7.0
        assert z.tolist() == [[1, 7, 2], [0, 7, 3]]


class TestScatteredSums:
    """Every place has a grid of its own."""

    def test_a_small_sum_is_not_lost_beside_a_large_one(self):
        index = torch.tensor([[0, 0], [0, 0]])
        source = torch.tensor([[1e-9, 3e-9], [1e6, 1e6]])
        with mode.arithmetic():
            together = torch.zeros(2, 1).scatter_add(1, index, source)
            alone = torch.zeros(1, 1).scatter_add(1, index[:1], source[:1])
        assert together[0, 0] == alone[0, 0] == torch.tensor(4e-9)
        assert together[1, 0] == 2e6

    def test_index_add_and_put_count_every_term(self):
        index = torch.tensor([0, 2, 0, 0])
        source = torch.tensor([1.0, 2.0, 1e-3, 1e3])
        with mode.arithmetic():
            added = torch.ones(3).index_add(0, index, source)
            put = torch.ones(3).index_put((index,), source, accumulate=True)
        assert added.tolist() == put.tolist() == [torch.tensor(1002.001).item(), 1.0, 3.0]


class TestRanges:
    """Numbers at equal distances do not depend on threads."""

    @pytest.mark.parametrize("number", [1, 3])
    def test_arange(self, number):
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            with mode.arithmetic():
                found = torch.arange(0.0, 100_000.0, 0.7)
                whole = torch.arange(3, 9, 2)
        finally:
            torch.set_num_threads(before)
        expected = [float(torch.tensor(0.7 * k, dtype=torch.float64)) for k in range(len(found))]
        assert torch.equal(found, torch.tensor(expected, dtype=torch.float64).float())
        assert len(found) == 142_858
        assert whole.tolist() == [3, 5, 7]
        assert whole.dtype == torch.int64

    def test_linspace(self):
        with mode.arithmetic():
            found = torch.linspace(0, 1, 5)
        assert found.tolist() == [0, 0.25, 0.5, 0.75, 1]
