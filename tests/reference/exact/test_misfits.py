# SPDX-License-Identifier: Apache-2.0
"""Operands that do not fit together are refused as in torch: a kernel would read what lies behind.

Not tested here: what operands that fit give (test_layers.py, test_losses.py, test_softmax.py).
"""

import pytest
import torch
from torch.nn import functional

from tiny_agent_trainer import errors, randomness
from tiny_agent_trainer.exact import mode, threads


def draw(*shape):
    count = torch.Size(shape).numel()
    values = randomness.stream(11, "misfits").uniform(count).reshape(shape)
    return torch.from_numpy(values) + 0.25


def longs(*values):
    return torch.tensor(values, dtype=torch.int64)


X = draw(2, 4, 5, 5)
MISFITS = {
    "mm": lambda: torch.mm(draw(2, 3), draw(4, 5)),
    "mm, longer": lambda: torch.mm(draw(2, 5), draw(4, 5)),
    "mm, dims": lambda: torch.mm(draw(2, 3, 1), draw(3, 5)),
    "bmm": lambda: torch.bmm(draw(2, 3, 4), draw(2, 5, 5)),
    "bmm, batches": lambda: torch.bmm(draw(2, 3, 4), draw(1, 4, 5)),
    "addmm": lambda: torch.addmm(draw(5), draw(2, 3), draw(4, 5)),
    "baddbmm": lambda: torch.baddbmm(draw(5), draw(2, 3, 4), draw(3, 4, 5)),
    "mv": lambda: torch.mv(draw(2, 3), draw(4)),
    "dot": lambda: torch.dot(draw(3), draw(4)),
    "linear": lambda: functional.linear(draw(2, 3), draw(5, 4)),
    "convolution, channels": lambda: functional.conv2d(X, draw(3, 3, 3, 3)),
    "convolution, more channels": lambda: functional.conv2d(X, draw(3, 300, 3, 3)),
    "convolution, bias": lambda: functional.conv2d(X, draw(3, 4, 3, 3), draw(4)),
    "convolution, one bias": lambda: functional.conv2d(X, draw(3, 4, 3, 3), draw(1)),
    "convolution, groups": lambda: functional.conv2d(X, draw(3, 2, 3, 3), groups=2),
    "convolution, kernel": lambda: functional.conv2d(X, draw(3, 4, 7, 7)),
    "convolution, dilated": lambda: functional.conv2d(X, draw(3, 4, 3, 3), dilation=(1, 3)),
    "convolution, stride": lambda: functional.conv2d(X, draw(3, 4, 3, 3), stride=0),
    "convolution, padding": lambda: functional.conv2d(X, draw(3, 4, 3, 3), padding=-1),
    "convolution, dims": lambda: torch.convolution(
        X, draw(3, 4, 3), None, [1], [0], [1], False, [0], 1
    ),
    "transposed, channels": lambda: functional.conv_transpose2d(X, draw(3, 3, 3, 3)),
    "transposed, bias": lambda: functional.conv_transpose2d(X, draw(4, 3, 3, 3), draw(5)),
    "transposed, output padding": lambda: functional.conv_transpose2d(
        X, draw(4, 3, 3, 3), stride=2, output_padding=3
    ),
    "transposed, no output": lambda: functional.conv_transpose2d(X, draw(4, 3, 1, 1), padding=3),
    "layer norm": lambda: torch.layer_norm(draw(2, 3), [4]),
    "layer norm, weight": lambda: torch.layer_norm(draw(2, 12), [12], draw(13), draw(13)),
    "loss, targets of an image": lambda: functional.nll_loss(X, torch.zeros(2, 5, 4).long()),
    "loss, weight": lambda: functional.nll_loss(draw(2, 3), longs(0, 1), draw(7)),
    "loss, float targets": lambda: functional.nll_loss(draw(2, 3), torch.tensor([0.0, 1.0])),
    "average, window": lambda: functional.avg_pool2d(X, 7),
    "average, padding": lambda: functional.avg_pool2d(X, 2, padding=2),
    "average, stride": lambda: functional.avg_pool2d(X, 2, stride=0),
    "interpolation, to nothing": lambda: functional.interpolate(X, scale_factor=0.1),
    "bilinear, to nothing": lambda: functional.interpolate(X, size=(0, 2), mode="bilinear"),
    "softmax": lambda: torch.softmax(draw(2, 3), 2),
    "logsumexp": lambda: torch.logsumexp(draw(2, 3), 2),
    "sum": lambda: draw(2, 3).sum(2),
    "sum, twice": lambda: draw(2, 3).sum((0, 0)),
    "variance": lambda: draw(2, 3).var(5),
    "mean of integers": lambda: longs(1, 2).mean(),
    "gated unit": lambda: functional.glu(draw(2, 3)),
    "put integers": lambda: draw(3, 4).index_put((longs(0, 1),), longs(1, 2, 3, 4)),
    "lerp": lambda: torch.lerp(draw(3), draw(3).double(), 0.5),
    "range without step": lambda: torch.arange(0.0, 1.0, 0.0),
    "range backwards": lambda: torch.arange(1.0, 0.0, 1.0),
    "negative count": lambda: torch.linspace(0, 1, -1),
}


@pytest.mark.parametrize("name", MISFITS)
class TestMisfit:
    """What torch refuses is refused."""

    def test_torch_refuses_it(self, name):
        with pytest.raises((RuntimeError, IndexError)):
            MISFITS[name]()

    def test_exact_arithmetic_refuses_it(self, name):
        with mode.arithmetic(), pytest.raises((RuntimeError, IndexError)):
            MISFITS[name]()


class TestOverlap:
    """A tensor written while a shifted view of it is read: threads would race."""

    @pytest.mark.parametrize("name", ["add_", "mul_", "sub_", "div_"])
    def test_is_refused(self, name):
        memory = torch.ones(100_000)
        with mode.arithmetic(), pytest.raises(RuntimeError, match="single memory location"):
            getattr(memory[1:], name)(memory[:-1])

    @pytest.mark.parametrize("number", [1, 3])
    def test_a_tensor_with_itself_and_neighbours_are_fine(self, number):
        threads.set_threads(number)
        memory = torch.full((200_000,), 3.0)
        with mode.arithmetic():
            memory.mul_(memory)
            memory[:100_000].add_(memory[100_000:])
        assert memory[:100_000].unique().tolist() == [18.0]
        assert memory[100_000:].unique().tolist() == [9.0]


class TestTypes:
    """Other precisions are refused in words, whichever way they came."""

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("function", [torch.relu, torch.sqrt, torch.exp, torch.sum])
    def test_half_precision_from_outside(self, dtype, function):
        x = torch.ones(3, dtype=dtype)
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match=str(dtype)):
            function(x)

    def test_integers_in_place_and_by_fractions(self):
        x = longs(4, 9)
        with mode.arithmetic():
            for function in (torch.sqrt_, torch.exp_, lambda x: torch.add(x, x, alpha=0.5)):
                with pytest.raises(errors.UnsupportedOperationError):
                    function(x)

    def test_a_norm_in_float64(self):
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match="float64"):
            torch.linalg.vector_norm(draw(3), dtype=torch.float64)


NOTHING = {
    "no samples": (0, 6, 4),
    "no channels": (3, 0, 4),
    "no places": (3, 6, 0),
}
REDUCTIONS = {
    "sum of the first dim": lambda x: x.sum(0),
    "sum of the last dim": lambda x: x.sum(-1),
    "sum, kept": lambda x: x.sum((1, 2), keepdim=True),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "norm of order 1": lambda x: torch.linalg.vector_norm(x, 1, dim=0),
    "repeated": lambda x: x.repeat(2, 1, 1),
    "outer": lambda x: x.unsqueeze(0) * x,
}


@pytest.mark.parametrize("shape", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_nothing_adds_up_to_zero_and_has_a_gradient(name, shape):
    ours, theirs = (torch.zeros(shape, requires_grad=True) for _ in range(2))
    truth = REDUCTIONS[name](theirs)
    truth.sum().backward()
    with mode.arithmetic():
        found = REDUCTIONS[name](ours)
        found.sum().backward()
    assert torch.equal(found, truth)
    assert torch.equal(ours.grad, theirs.grad)


def test_no_samples_have_no_logarithm_of_a_sum():
    with mode.arithmetic():
        assert torch.zeros(0, 5).logsumexp(-1).shape == (0,)
        assert torch.tensor(2.5).logsumexp(0).item() == 2.5


def test_a_volume_without_samples_is_averaged_over_three_dims():
    x = draw(3, 6, 7, 5)
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    functional.adaptive_avg_pool3d(theirs, (4, 3, 2)).sum().backward()
    with mode.arithmetic():
        functional.adaptive_avg_pool3d(ours, (4, 3, 2)).sum().backward()
    assert (ours.grad.double() - theirs.grad).abs().max() < 1e-6


def test_a_window_larger_than_the_image_counts_in_ceil_mode():
    x = draw(1, 1, 3, 3)
    with mode.arithmetic():
        found = functional.avg_pool2d(x, 4, 2, ceil_mode=True)
    assert torch.allclose(found, functional.avg_pool2d(x, 4, 2, ceil_mode=True))
