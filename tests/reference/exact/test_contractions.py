# SPDX-License-Identifier: Apache-2.0
"""Products and convolutions, bit for bit against rational arithmetic, on every engine.

Not tested here: independence of the instruction set (tests/reference/exact/test_matrix.py).
"""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from rational import exact_dot, same_bits

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact import threads
from tiny_agent_trainer.exact.contractions import blocks, current, geometry
from tiny_agent_trainer.exact.contractions import engine as engine_module
from tiny_agent_trainer.exact.kernels import dot_block

ENGINES = sorted(current.ENGINES.values(), key=lambda engine: engine.name)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def draw(name, *shape):
    """Values of very different magnitudes, from a stream of their own."""
    count = int(np.prod(shape))
    flat = randomness.stream(7, name).uniform(count) * 2 - 1
    powers = randomness.stream(7, name, "powers").integers(count, 12)
    return torch.from_numpy((flat * 2.0 ** -powers.astype(np.float32)).reshape(shape))


class TestMultiply:
    """Each operand is rounded once to its grid; the dot product of the grids is rounded once."""

    @settings(max_examples=150)
    @given(st.data())
    def test_equals_rational_arithmetic(self, data):
        rows, depth, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
        left = data.draw(numpy_strategies.arrays(np.float32, (rows, depth), elements=finite))
        right = data.draw(numpy_strategies.arrays(np.float32, (depth, columns), elements=finite))
        with np.errstate(over="ignore"):
            expected = np.array(
                [[exact_dot(row, column) for column in right.T] for row in left], np.float32
            )
        for engine in ENGINES:
            found = engine.multiply(torch.from_numpy(left)[None], torch.from_numpy(right)[None])
            assert same_bits(found[0].numpy(), expected), engine.name

    @pytest.mark.parametrize("transposed", list(itertools.product([False, True], repeat=2)))
    @pytest.mark.parametrize(
        "shape", [(1, 1, 1, 1), (3, 33, 65, 17), (2, 15, 64, 40), (1, 2, 0, 3)]
    )
    def test_engines_agree_in_every_layout(self, shape, transposed):
        batches, rows, depth, columns = shape
        left, right = draw("left", batches, rows, depth), draw("right", batches, depth, columns)
        if transposed[0]:
            left = left.transpose(1, 2).contiguous().transpose(1, 2)
        if transposed[1]:
            right = right.transpose(1, 2).contiguous().transpose(1, 2)
        results = [engine.multiply(left, right).numpy() for engine in ENGINES]
        assert all(same_bits(result, results[0]) for result in results)
        close = np.abs(results[0] - (left.double() @ right.double()).numpy())
        assert close.max(initial=0) <= depth * 2.0**-13

    @pytest.mark.parametrize(
        "depth", [29, 30, 31, 32, 4096, 2 * dot_block.MOST_PAIRS + 3, 2**22 + 3]
    )
    @pytest.mark.parametrize("sign", [1, -1])
    def test_extreme_integers_do_not_wrap(self, engine, depth, sign):
        """All operands at +-2^13, where a random test would pass by luck: equations (5) to (7)."""
        value = 1.0 - 2.0**-20  # rounds up to 2^13 on its grid
        left, right = torch.full((1, 2, depth), value), torch.full((1, depth, 2), sign * value)
        right[0, ::2, 1] *= -1
        found = engine.multiply(left, right)[0, 0]
        assert found.tolist() == [np.float32(sign * depth), -sign * (depth % 2)]

    def test_tiny_and_huge_blocks_stay_apart(self, engine):
        """A row of subnormals loses nothing to a row of huge values beside it."""
        left = torch.tensor([[[1e30, 1e30], [1e-25, 1e-25]]])
        found = engine.multiply(left, torch.ones(1, 2, 1))
        assert found[0, 1, 0] == pytest.approx(2e-25, rel=2e-4)

    def test_refuses_what_float64_could_not_add(self, engine):
        left = torch.zeros(1).expand(1, 1, engine_module.MOST_TERMS + 1)
        with pytest.raises(errors.UnsupportedOperationError, match="134217728"):
            engine.multiply(left, left.transpose(1, 2))

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_refuses_what_is_not_finite(self, engine, bad):
        operand = torch.ones(1, 2, 3)
        operand[0, 1, 2] = bad
        with pytest.raises(errors.NotFiniteError, match="left operand"):
            engine.multiply(operand, torch.ones(1, 3, 1))
        with pytest.raises(errors.NotFiniteError, match="right operand"):
            engine.multiply(torch.ones(1, 1, 2), operand)


def convolution_cases():
    """Geometries of one to three dims: strides, dilation, padding and groups, evenly mixed."""
    stream = randomness.stream(11, "convolutions")
    numbers = iter(stream.integers(4000, 1 << 20).tolist())

    def pick(*choices):
        return choices[next(numbers) % len(choices)]

    for case in range(48):
        spatial, groups = 1 + case % 3, pick(1, 1, 2, 3)
        inputs, outputs = groups * pick(1, 2, 3, 5), groups * pick(1, 4, 17, 33)
        kernel, stride, dilation = ([pick(1, 2, 3) for _ in range(spatial)] for _ in range(3))
        padding = [pick(0, 1, 2) for _ in range(spatial)]
        size = [
            max(dilation[d] * (kernel[d] - 1) + 1 - 2 * padding[d], 1) + pick(0, 1, 2, 4)
            for d in range(spatial)
        ]
        yield pick(1, 2, 3), groups, inputs, outputs, size, kernel, stride, padding, dilation


class TestConvolve:
    """Both engines give the bits of the definition; float64 PyTorch agrees within equation (2)."""

    @pytest.mark.parametrize("case", list(convolution_cases()))
    def test_engines_agree_with_each_other_and_with_torch(self, case):
        samples, groups, inputs, outputs, size, kernel, stride, padding, dilation = case
        x = draw("x", samples, inputs, *size)
        weight = draw("w", outputs, inputs // groups, *kernel)
        shape = geometry.of_convolution(x, weight, stride, padding, dilation, groups)
        inside = geometry.channels_innermost(x)
        rest = (stride, padding, dilation, False, [0] * len(size), groups)
        expected = torch.ops.aten.convolution(x.double(), weight.double(), None, *rest)
        dy = draw("dy", *expected.shape)
        outside = geometry.channels_innermost(dy)
        for_x, for_weight, _ = torch.ops.aten.convolution_backward(
            dy.double(), x.double(), weight.double(), None, *rest, [True, True, False]
        )
        spatial = len(size)
        for method, operands, truth, depth in (
            ("convolve", (inside, weight), expected, weight[0].numel()),
            ("input_gradient", (outside, weight), for_x, weight[0].numel() * outputs),
            ("weight_gradient", (inside, outside), for_weight, dy[:, 0].numel()),
        ):
            results = [getattr(engine, method)(*operands, shape) for engine in ENGINES]
            assert same_bits(*(result.contiguous().numpy() for result in results)), method
            found = results[0]
            if method == "weight_gradient":
                found = found.reshape(weight.shape)
            else:
                found = geometry.channels_second(found, spatial)
            assert (found.double() - truth).abs().max() <= depth * 2.0**-12, method

    def test_equals_rational_arithmetic(self, engine):
        x, weight = draw("x", 2, 2, 3, 3), draw("w", 3, 2, 2, 2)
        shape = geometry.of_convolution(x, weight, [1], [0], [1], 1)
        found = engine.convolve(geometry.channels_innermost(x), weight, shape)
        step = [
            np.ldexp(1.0, e - 13) for e in blocks.of_samples(x.numpy().reshape(2, 1, 1, 1, -1), "x")
        ]
        steps = [np.ldexp(1.0, e - 13) for e in blocks.of_weight(weight, 1, "w")[0]]
        for n, o, i, j in itertools.product(range(2), range(3), range(2), range(2)):
            total = Fraction(0)
            for c, a, b in itertools.product(range(2), range(2), range(2)):
                q = round(Fraction(float(x[n, c, i + a, j + b])) / Fraction(step[n]))
                r = round(Fraction(float(weight[o, c, a, b])) / Fraction(steps[o]))
                total += q * r
            truth = float(total * Fraction(step[n]) * Fraction(steps[o]))
            assert found[n, 0, i, j, o] == np.float32(truth)

    def test_a_sample_does_not_depend_on_its_batch(self, engine):
        x, weight = draw("x", 7, 4, 6, 6), draw("w", 5, 4, 3, 3)
        x[3] *= 1e6

        def convolve(samples):
            shape = geometry.of_convolution(samples, weight, [1], [1], [1], 1)
            return engine.convolve(geometry.channels_innermost(samples), weight, shape).numpy()

        together = convolve(x)
        for n in range(7):
            assert same_bits(convolve(x[n : n + 1])[0], together[n])

    @pytest.mark.parametrize("number", [2, 3, 7])
    def test_threads_change_nothing(self, number):
        x, weight = draw("x", 5, 6, 9, 9), draw("w", 40, 6, 3, 3)
        shape = geometry.of_convolution(x, weight, [2], [1], [1], 1)
        inside = geometry.channels_innermost(x)
        dy = draw("dy", *(5, *shape.out, 40))

        def compute():
            engine = current.engine()
            return (
                engine.convolve(inside, weight, shape).numpy(),
                engine.input_gradient(dy, weight, shape).numpy(),
                engine.weight_gradient(inside, dy, shape).contiguous().numpy(),
            )

        alone = compute()
        threads.set_threads(number)
        assert all(map(same_bits, compute(), alone))
