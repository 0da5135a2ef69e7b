# SPDX-License-Identifier: Apache-2.0
"""Softmax and its relatives against rational arithmetic, mpmath and torch in float64.

Not tested here: the exponential itself (test_functions_of_tensors.py).
"""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from rational import exponent_of, same_bits

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact import grids, mode, threads
from tiny_agent_trainer.exact.kernels import functions
from tiny_agent_trainer.exact.table import softmax

rows = numpy_strategies.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(-200, 200, width=32) | st.just(-np.inf) | st.just(0.0),
).filter(lambda x: np.isfinite(x).any())
gradients = st.floats(-(2.0**30), 2.0**30, width=32)

SHAPES = [((7, 45), 1), ((7, 5), 1), ((3, 4, 300), 1), ((2, 3, 9, 40), 1), ((2, 40, 3), 1)]
SHAPES += [((5,), 0), ((), 0), ((1, 1), 1), ((6, 2, 5), 0), ((2, 50, 4, 7), 1), ((0, 3), 1)]
"""Shapes and dims of every arrangement: rows, columns, few classes, channels last."""


def exact(operation, *arguments, **keywords):
    with mode.arithmetic():
        return operation(*arguments, **keywords)


def exponentials(x):
    """t and T of a row, word for word."""
    largest = float(x.max())
    t = [functions.exp(float(value) - largest) for value in x]
    unit = Fraction(1, 2**40)
    return largest, t, float(sum(round(Fraction(value) / unit) for value in t) * unit)


def example(shape, name="softmax"):
    count = math.prod(shape)
    drawn = randomness.stream(5, name, *shape).uniform(count).reshape(shape)
    return torch.from_numpy(np.asarray((drawn - np.float32(0.5)) * np.float32(12)))


class TestForward:
    """t / T and (x - m) - log(T), T an exact sum on the grid of 2^-40."""

    @given(rows)
    def test_equals_the_formula(self, x):
        largest, t, total = exponentials(x)
        expected = np.array([value / total for value in t]).astype(np.float32)
        assert same_bits(exact(torch.softmax, torch.from_numpy(x), 0).numpy(), expected)
        level = functions.log(total)
        expected = np.array([(float(v) - largest) - level for v in x]).astype(np.float32)
        assert same_bits(exact(torch.log_softmax, torch.from_numpy(x), 0).numpy(), expected)
        expected = np.float32(largest + level)
        assert same_bits(exact(torch.logsumexp, torch.from_numpy(x), 0).numpy(), expected)

    @given(rows, st.randoms())
    def test_order_is_free(self, x, random):
        places = list(range(len(x)))
        random.shuffle(places)
        result = exact(torch.softmax, torch.from_numpy(x), 0)
        assert torch.equal(exact(torch.softmax, torch.from_numpy(x[places]), 0), result[places])

    @given(rows)
    def test_is_as_near_to_the_truth_as_stated(self, x):
        with mpmath.workprec(200):
            terms = [mpmath.exp(mpmath.mpf(float(value)) - float(x.max())) for value in x]
            total = mpmath.fsum(terms)
            found = exact(torch.softmax, torch.from_numpy(x), 0).tolist()
            log_found = exact(torch.log_softmax, torch.from_numpy(x), 0).tolist()
            relative = 2.0**-24 + 2.0**-31 + len(x) * 2.0**-41
            for value, term, result, log_result in zip(x, terms, found, log_found, strict=True):
                true = term / total
                assert abs(result - true) <= relative * true + 2.0**-149
                true = mpmath.mpf(float(value)) - float(x.max()) - mpmath.log(total)
                assert value == -np.inf or abs(log_result - true) <= 2.0**-24 * abs(true) + 2.0**-31

    def test_a_sure_prediction(self):
        x = torch.tensor([[0.0, -40.0], [0.0, 200.0], [3e38, -3e38]])
        result = exact(torch.log_softmax, x, 1)
        assert result[1].tolist() == [-200.0, 0.0]
        assert result[2].tolist() == [0.0, -math.inf]
        assert exact(torch.softmax, x, 1)[0, 0].item() == 1.0

    @pytest.mark.parametrize(("shape", "dim"), SHAPES)
    def test_every_arrangement_equals_single_rows(self, shape, dim):
        x = example(shape)
        for operation in (torch.softmax, torch.log_softmax):
            result = exact(operation, x, dim)
            assert result.shape == x.shape
            assert result.stride() == x.stride()
            moved, moved_result = (tensor.movedim(dim, -1) for tensor in (x, result))
            for place in np.ndindex(moved.shape[:-1]):
                alone = exact(operation, moved[place].contiguous(), -1)
                assert same_bits(alone.numpy(), moved_result[place].numpy())

    @pytest.mark.parametrize("classes", [3, 40])
    @pytest.mark.parametrize("number", [1, 2, 7])
    def test_layout_and_threads_cannot_change_a_bit(self, classes, number):
        x = example((3, classes, 20, 33))
        expected = exact(torch.softmax, x, 1)
        threads.set_threads(number)
        last = x.to(memory_format=torch.channels_last)
        result = exact(torch.softmax, last, 1)
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(result, expected)
        assert torch.equal(exact(torch.softmax, x, 1), expected)
        sliced = torch.cat([x, x], 3)[..., ::2]
        assert torch.equal(exact(torch.softmax, sliced, 1), exact(torch.softmax, sliced.clone(), 1))

    @pytest.mark.parametrize("shape", [(3, 5), (3, 40), (2, 3, 50)])
    @pytest.mark.parametrize("wrong", [math.nan, "nan of either sign", math.inf, None])
    def test_what_has_no_softmax_is_refused(self, shape, wrong):
        x = example(shape)
        if wrong is None:
            x.movedim(1, -1)[-1] = -math.inf
        elif isinstance(wrong, str):
            x.view(-1)[-1:].view(torch.int32)[:] = -1
        else:
            x.view(-1)[-1] = wrong
        for operation in (torch.softmax, torch.log_softmax, torch.logsumexp):
            with pytest.raises(errors.NotFiniteError, match="softmax"):
                exact(operation, x, 1)

    def test_a_masked_row_keeps_its_other_values(self):
        x = torch.tensor([[1.0, -math.inf, 2.0]])
        result = exact(torch.softmax, x, 1)
        assert result[0, 1].item() == 0.0
        assert torch.equal(result[:, [0, 2]], exact(torch.softmax, x[:, [0, 2]], 1))

    def test_logsumexp_over_dims(self):
        x = example((3, 4, 5))
        for dims, keepdim in (([1], False), ([0, 2], True), ([0, 1, 2], False), ([-1], True)):
            result = exact(torch.logsumexp, x, dims, keepdim=keepdim)
            expected = torch.logsumexp(x.double(), dims, keepdim=keepdim)
            assert result.shape == expected.shape
            assert (result - expected).abs().max() <= 2.0**-23 * expected.abs().max()


class TestBackward:
    """The sum is exact on the grid of the largest |g|; then y (g - sum), or g - e^y sum."""

    @given(st.data())
    def test_equals_the_formula(self, data):
        x = data.draw(rows)
        g = data.draw(numpy_strategies.arrays(np.float32, len(x), elements=gradients))
        bits = grids.sum_bits(len(x))
        step = Fraction(2) ** (exponent_of(g, grids.SUM_FLOOR) - bits)
        for is_log, operation in ((False, torch.softmax), (True, torch.log_softmax)):
            leaf = torch.from_numpy(x).requires_grad_()
            with mode.arithmetic():
                result = operation(leaf, 0)
                result.backward(torch.from_numpy(g))
            y = result.detach().numpy()
            factors = np.ones(len(x)) if is_log else y
            pairs = zip(g.tolist(), factors.tolist(), strict=True)
            total = float(sum(round(Fraction(p) * Fraction(q) / step) for p, q in pairs) * step)
            pairs = zip(g.tolist(), y.tolist(), strict=True)
            if is_log:
                expected = [p - functions.exp(q) * total for p, q in pairs]
            else:
                expected = [q * (p - total) for p, q in pairs]
            assert same_bits(leaf.grad.numpy(), np.array(expected).astype(np.float32))

    @pytest.mark.parametrize(("shape", "dim"), SHAPES)
    @pytest.mark.parametrize("operation", [torch.softmax, torch.log_softmax])
    def test_agrees_with_float64(self, shape, dim, operation):
        x, gradient = example(shape), example(shape, "gradient")
        leaf, wide = x.clone().requires_grad_(), x.double().requires_grad_()
        exact(lambda: operation(leaf, dim).backward(gradient))
        operation(wide, dim).backward(gradient.double())
        if not x.numel():
            return
        scale = gradient.abs().max() * max(1, shape[dim] if shape else 1)
        assert (leaf.grad - wide.grad).abs().max() <= 2.0**-22 * scale

    @pytest.mark.parametrize("classes", [3, 40])
    def test_layout_and_threads_cannot_change_a_bit(self, classes):
        y = exact(torch.softmax, example((3, classes, 20, 33)), 1)
        g = example(tuple(y.shape), "gradient")
        for operation in (torch._softmax_backward_data, torch._log_softmax_backward_data):
            threads.set_threads(1)
            expected = exact(operation, g, y, 1, torch.float32)
            for number in (2, 7):
                threads.set_threads(number)
                last = y.to(memory_format=torch.channels_last)
                assert torch.equal(exact(operation, g, last, 1, torch.float32), expected)
                assert torch.equal(exact(operation, g, y, 1, torch.float32), expected)

    @pytest.mark.parametrize("shape", [(3, 5), (3, 40), (2, 3, 50)])
    @pytest.mark.parametrize("wrong", [math.nan, math.inf])
    def test_a_gradient_that_is_not_finite_is_refused(self, shape, wrong):
        y = exact(torch.softmax, example(shape), 1)
        g = example(shape)
        g.view(-1)[-1] = wrong
        with pytest.raises(errors.NotFiniteError, match="gradient of a softmax"):
            exact(torch._softmax_backward_data, g, y, 1, torch.float32)


class TestArrangement:
    """Long rows along the last dim, columns elsewhere."""

    @pytest.mark.parametrize(
        ("shape", "dim", "arranged"),
        [
            ((8, 50), 1, (8, 50, 1)), ((8, 5), 1, (1, 5, 8)), ((2, 3, 4, 5), 1, (2, 3, 20)),
            ((2, 50, 3), 1, (6, 50, 1)), ((2, 5, 3), 1, (1, 5, 6)), ((7,), 0, (1, 7, 1)),
        ],
    )  # fmt: skip
    def test_shapes(self, shape, dim, arranged):
        x = example(shape)
        arrangement = softmax.Arrangement.of(x, dim)
        assert arrangement.apply(x).shape == arranged
        assert torch.equal(arrangement.restore(arrangement.apply(x), x), x)

    def test_too_many_classes_are_refused(self):
        with pytest.raises(errors.UnsupportedOperationError, match="4194304"):
            exact(torch.softmax, torch.zeros(1, 1).expand(1, 1 << 22), 1)
