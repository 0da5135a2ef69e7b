# SPDX-License-Identifier: Apache-2.0
"""Answers to several views of a sample become their exact mean.

Not tested here: which views there are (tests of cropping).
"""

from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_agent_trainer.validator import views

NUMBERS = st.floats(-1048576.0, 1048576.0, width=32)


@settings(max_examples=60)
@given(st.lists(NUMBERS, min_size=2, max_size=9))
def test_the_mean_is_exact_but_for_its_last_roundings(numbers):
    logits = torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1)
    found = views.average(logits, len(numbers))
    exact = sum(map(Fraction, numbers), Fraction(0)) / len(numbers)
    assert found.shape == (1, 1)
    assert abs(Fraction(found.item()) - exact) <= abs(exact) / 2**23 + Fraction(1, 2**149)


@given(st.permutations(list(range(6))))
def test_the_order_of_views_has_no_influence(order):
    logits = torch.tensor([[1e30], [1.0], [-1e30], [3e-20], [7.0], [1e-30]])
    assert views.average(logits[order], 6).item() == views.average(logits, 6).item()


def test_rows_belong_to_their_samples_and_one_view_is_left_alone():
    logits = torch.tensor(np.arange(12, dtype=np.float32).reshape(6, 2))
    assert views.average(logits, 3).tolist() == [[2.0, 3.0], [8.0, 9.0]]
    assert views.average(logits, 1) is logits
