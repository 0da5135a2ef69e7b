# SPDX-License-Identifier: Apache-2.0
"""Equals keep their order; a running sum is the rounded exact sum up to its place.

Not tested here: gradients (test_layers.py).
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import grids, mode

FLOATS = st.floats(-1e6, 1e6, width=32)


class TestTies:
    """The lowest index comes first, however many equals there are."""

    def test_of_the_largest(self):
        x = torch.zeros(2, 5000)
        x[:, 1::3] = 1.0
        with mode.arithmetic():
            values, indices = x.topk(7)
            smallest = x.topk(4, largest=False).indices
        assert values.unique().tolist() == [1]
        assert indices.tolist() == [[1, 4, 7, 10, 13, 16, 19]] * 2
        assert smallest.tolist() == [[0, 2, 3, 5]] * 2

    @pytest.mark.parametrize("descending", [False, True])
    def test_of_a_sort(self, descending):
        x = torch.arange(3000.0) % 2
        with mode.arithmetic():
            indices = x.sort(descending=descending).indices
        first = 1 if descending else 0
        assert indices[:1500].tolist() == list(range(first, 3000, 2))

    def test_of_nothing_too_many_and_a_number(self):
        with mode.arithmetic():
            assert torch.zeros(3, 4).topk(0).values.shape == (3, 0)
            assert torch.tensor(2.0).topk(1).values.item() == 2
            with pytest.raises(RuntimeError):
                torch.zeros(3).topk(4)


class TestRunningSums:
    """Each place holds the sum of the row's integers up to it."""

    @given(st.lists(FLOATS, min_size=1, max_size=30))
    def test_are_rounded_exact_sums(self, values):
        x = np.array(values, np.float32)
        with mode.arithmetic():
            found = torch.from_numpy(x).cumsum(0)
        largest = np.abs(x).view(np.int32).max()
        exponent = int(grids.exponents(np.int32(largest), grids.SUM_FLOOR, "x"))
        unit = Fraction(2) ** (exponent - grids.sum_bits(len(x)))
        total = 0
        for value, sum_ in zip(x, found, strict=True):
            total += round(Fraction(float(value)) / unit)
            assert sum_.item() == np.float32(total) * np.float32(float(unit))

    def test_the_last_is_the_sum_and_rows_are_independent(self):
        x = torch.tensor([[1e-9, 3e-9, -2e-9], [1e6, -3e6, 1e-3]])
        with mode.arithmetic():
            together = x.cumsum(1)
            assert torch.equal(together[:, -1], x.sum(1))
            assert torch.equal(together[:1], x[:1].cumsum(1))

    def test_of_integers_nothing_and_no_number(self):
        with mode.arithmetic():
            assert torch.tensor([1, 2, 3]).cumsum(0).tolist() == [1, 3, 6]
            assert torch.zeros(0, 3).cumsum(1).shape == (0, 3)
            assert torch.tensor(2.5).cumsum(0).item() == 2.5
            with pytest.raises(errors.NotFiniteError, match="running sum"):
                torch.tensor([1.0, float("inf")]).cumsum(0)
