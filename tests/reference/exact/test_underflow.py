# SPDX-License-Identifier: Apache-2.0
"""How many values of operands become zero: counted against plain numpy, changing no result.

Not tested here: when a training counts (tests/unit/training/test_loop.py).
"""

import numpy as np
import torch

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import mode, threads
from tiny_agent_trainer.exact.contractions import current

aten = torch.ops.aten


def draw(name, *shape):
    """Magnitudes from 1 to 2^-20, some of them just at half a unit of a grid, some zero."""
    count = int(np.prod(shape))
    sign = randomness.stream(3, name).integers(count, 3).astype(np.float32) - 1
    powers = randomness.stream(3, name, "powers").integers(count, 21).astype(np.float32)
    return torch.from_numpy((sign * 2.0**-powers).astype(np.float32).reshape(shape))


def lost(x, axes):
    """Nonzero values that round to zero where those along `axes` share a grid."""
    x = x.double().numpy()
    largest = np.abs(x).max(axis=axes, keepdims=True)
    exponents = np.frexp(largest)[1]
    grid = np.rint(np.ldexp(x, 13 - exponents))
    return int(((grid == 0) & (x != 0)).sum()), x.size


def both(first, second):
    return first[0] + second[0], first[1] + second[1]


def test_products(engine):
    left, right = draw("left", 2, 5, 33), draw("right", 2, 33, 7)
    current.set_engine(engine.name)
    with mode.arithmetic():
        expected = torch.bmm(left, right)
        with current.counting_underflow() as counts:
            found = torch.bmm(left, right.transpose(1, 2).contiguous().transpose(1, 2))
    assert counts == {"left operand": lost(left, 2), "right operand": lost(right, 1)}
    assert counts["left operand"][0] > 0
    assert torch.equal(found, expected)


def test_convolutions_and_their_gradients(engine):
    x, weight, gradient = draw("x", 3, 4, 6, 5), draw("w", 6, 2, 3, 3), draw("g", 3, 6, 6, 5)
    rest = ([1, 1], [1, 1], [1, 1], False, [0, 0], 2)
    current.set_engine(engine.name)
    threads.set_threads(2)
    with mode.arithmetic():
        expected = aten.convolution_backward(gradient, x, weight, None, *rest, [True, True, False])
        with current.counting_underflow() as counts:
            aten.convolution(x, weight, None, *rest)
            found = aten.convolution_backward(gradient, x, weight, None, *rest, [True, True, False])
    by_group = weight.reshape(2, 3, 2, 3, 3)
    assert counts == {
        "input": both(lost(x, (1, 2, 3)), lost(x, (0, 2, 3))),
        "weight": both(lost(weight, (1, 2, 3)), lost(by_group, (1, 3, 4))),
        "output gradient": both(lost(gradient, (1, 2, 3)), lost(gradient, (0, 2, 3))),
    }
    assert min(count for count, _ in counts.values()) > 0
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_the_engine_is_as_before_afterwards(engine):
    current.set_engine(engine.name)
    with current.counting_underflow() as counts:
        assert current.engine().name == engine.name
    assert current.engine() is engine
    assert counts == {}
