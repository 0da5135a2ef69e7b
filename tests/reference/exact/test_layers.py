# SPDX-License-Identifier: Apache-2.0
"""Layers against float64 PyTorch: forward, every gradient and every buffer, in every layout.

A wrong layer can be perfectly reproducible, so agreement comes first; then one set of bits for
every number of threads and for every layout of memory.

Not tested here: the bits of products and sums (test_contractions.py, test_sums.py).
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from tiny_agent_trainer import randomness
from tiny_agent_trainer.exact import mode, threads

NORMAL, PRODUCT = 2e-5, 2e-3
"""Largest deviation relative to the largest value: float32 rounding; operands of 14 bits."""


class Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def draw(name, *shape):
    count = torch.Size(shape).numel()
    return torch.from_numpy(randomness.stream(5, name).uniform(count).reshape(shape)) * 4 - 1


def with_drawn_weights(layer):
    """Weights and running statistics that are neither zero nor one."""
    for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data.copy_(draw(name, *tensor.shape).abs() + 0.25)
    return layer


def run(layer, x, dy, *, exact):
    """(output, gradient of the input, gradients of parameters, buffers)."""
    layer, x = copy.deepcopy(layer), x.detach().clone().requires_grad_()
    if exact:
        with mode.arithmetic():
            y = layer(x)
            y.backward(dy)
    else:
        y = layer(x)
        y.backward(dy)
    named = {"output": y, "input gradient": x.grad}
    named |= {f"gradient of {name}": p.grad for name, p in layer.named_parameters()}
    return named | dict(layer.named_buffers())


def digest(named):
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in named.items()}


def layouts(x):
    yield x
    if x.dim() == 4:
        yield x.to(memory_format=torch.channels_last)
    if x.dim() == 5:
        yield x.to(memory_format=torch.channels_last_3d)
    yield torch.stack([x, x], dim=-1)[..., 0]


LAYERS = {
    "batch norm": (nn.BatchNorm2d(8), (6, 8, 5, 7), NORMAL),
    "batch norm, momentum": (nn.BatchNorm2d(8, momentum=0.3), (6, 8, 5, 7), NORMAL),
    "batch norm, evaluating": (nn.BatchNorm2d(8).eval(), (6, 8, 5, 7), NORMAL),
    "batch norm, no weights": (nn.BatchNorm2d(8, affine=False), (3, 8, 5, 7), NORMAL),
    "batch norm, no statistics": (
        nn.BatchNorm2d(4, track_running_stats=False), (3, 4, 5, 7), NORMAL,
    ),
    "batch norm 1-D": (nn.BatchNorm1d(5), (9, 5), NORMAL),
    "batch norm 3-D": (nn.BatchNorm3d(3), (2, 3, 4, 5, 6), NORMAL),
    "group norm": (nn.GroupNorm(4, 8), (3, 8, 5, 7), NORMAL),
    "group norm 3-D": (nn.GroupNorm(2, 6), (2, 6, 3, 4, 5), NORMAL),
    "instance norm": (nn.InstanceNorm2d(8, affine=True), (3, 8, 5, 7), NORMAL),
    "instance norm 3-D": (nn.InstanceNorm3d(4), (2, 4, 3, 4, 5), NORMAL),
    "layer norm": (nn.LayerNorm(16), (4, 5, 16), NORMAL),
    "layer norm, two dims": (nn.LayerNorm([5, 7]), (6, 8, 5, 7), NORMAL),
    "convolution": (nn.Conv2d(3, 5, 3, stride=2, padding=1), (2, 3, 9, 9), PRODUCT),
    "convolution 1-D": (nn.Conv1d(4, 6, 3, dilation=2, groups=2), (2, 4, 12), PRODUCT),
    "convolution 3-D": (nn.Conv3d(2, 4, 3, padding=1), (2, 2, 5, 4, 6), PRODUCT),
    "depthwise": (nn.Conv2d(6, 6, 3, padding=1, groups=6), (2, 6, 7, 7), PRODUCT),
    "transposed": (nn.ConvTranspose3d(4, 6, 2, stride=2), (2, 4, 3, 3, 3), PRODUCT),
    "transposed, grouped": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 4, 5, 3), PRODUCT,
    ),
    "linear": (nn.Linear(7, 5), (4, 3, 7), PRODUCT),
    "average pool": (Call(lambda x: functional.avg_pool2d(x, 3, 2, 1)), (3, 5, 9, 11), NORMAL),
    "average pool, ceil": (
        Call(lambda x: functional.avg_pool2d(x, 3, 2, 1, True, False)), (3, 5, 9, 12), NORMAL,
    ),
    "average pool, divisor": (
        Call(lambda x: functional.avg_pool2d(x, 2, divisor_override=3)), (3, 5, 8, 9), NORMAL,
    ),
    "average pool 3-D": (Call(lambda x: functional.avg_pool3d(x, 2)), (2, 3, 6, 7, 5), NORMAL),
    "average pool 1-D": (Call(lambda x: functional.avg_pool1d(x, 3, 2)), (2, 3, 13), NORMAL),
    "adaptive average": (
        Call(lambda x: functional.adaptive_avg_pool2d(x, (4, 3))), (3, 5, 9, 11), NORMAL,
    ),
    "adaptive average 3-D": (
        Call(lambda x: functional.adaptive_avg_pool3d(x, (4, 3, 2))), (2, 3, 6, 7, 5), NORMAL,
    ),
    "global average": (
        Call(lambda x: functional.adaptive_avg_pool2d(x, 1)), (3, 5, 9, 11), NORMAL,
    ),
    "max pool": (Call(lambda x: functional.max_pool2d(x, 3, 2, 1)), (3, 5, 9, 11), NORMAL),
    "max pool 3-D": (Call(lambda x: functional.max_pool3d(x, 2)), (2, 3, 6, 7, 5), NORMAL),
    "adaptive max": (Call(lambda x: functional.adaptive_max_pool2d(x, 3)), (3, 5, 9, 11), NORMAL),
    "bilinear": (
        Call(lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear")),
        (3, 5, 9, 11), NORMAL,
    ),
    "bilinear, corners": (
        Call(lambda x: functional.interpolate(x, (5, 20), mode="bilinear", align_corners=True)),
        (3, 5, 9, 11), NORMAL,
    ),
    "trilinear": (
        Call(lambda x: functional.interpolate(x, scale_factor=2, mode="trilinear")),
        (2, 3, 6, 7, 5), NORMAL,
    ),
    "linear interpolation": (
        Call(lambda x: functional.interpolate(x, scale_factor=1.7, mode="linear")),
        (2, 3, 13), NORMAL,
    ),
    "nearest": (Call(lambda x: functional.interpolate(x, scale_factor=2)), (3, 5, 9, 11), NORMAL),
    "nearest, odd": (Call(lambda x: functional.interpolate(x, (5, 20))), (3, 5, 9, 11), NORMAL),
    "nearest 3-D": (
        Call(lambda x: functional.interpolate(x, scale_factor=2)), (2, 3, 6, 7, 5), NORMAL,
    ),
    "repeated index": (Call(lambda x: x[:, torch.tensor([0, 0, 1, 2])]), (3, 5, 9, 11), NORMAL),
    "mask": (Call(lambda x: x[:, torch.tensor([True, False, True])]), (2, 3, 4), NORMAL),
    "gather": (
        Call(lambda x: x.gather(1, torch.tensor([[[0], [2], [0]]]).expand(3, 3, 9))),
        (3, 5, 9), NORMAL,
    ),
    "index select": (
        Call(lambda x: x.index_select(2, torch.tensor([1, 1, 0]))), (3, 5, 9, 11), NORMAL,
    ),
    "reflected": (Call(lambda x: functional.pad(x, (2, 1, 1, 3), "reflect")), (2, 3, 5, 4), NORMAL),
    "reflected 1-D": (Call(lambda x: functional.pad(x, (3, 1), "reflect")), (2, 3, 9), NORMAL),
    "reflected 3-D": (
        Call(lambda x: functional.pad(x, (1, 2, 1, 1, 2, 1), "reflect")), (2, 3, 4, 3, 5), NORMAL,
    ),
    "replicated": (
        Call(lambda x: functional.pad(x, (2, 1, 4, 3), "replicate")), (2, 3, 5, 4), NORMAL,
    ),
    "replicated 1-D": (Call(lambda x: functional.pad(x, (3, 1), "replicate")), (2, 3, 9), NORMAL),
    "replicated 3-D": (
        Call(lambda x: functional.pad(x, (1, 2, 1, 1, 2, 1), "replicate")), (2, 3, 4, 3, 5), NORMAL,
    ),
    "convolution, reflecting": (
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 3, 6, 5), PRODUCT,
    ),
    "shuffled to pixels": (Call(lambda x: functional.pixel_shuffle(x, 2)), (2, 8, 3, 5), NORMAL),
    "shuffled from pixels": (
        Call(lambda x: functional.pixel_unshuffle(x, 2)), (2, 3, 4, 6), NORMAL,
    ),
    "shuffled channels": (Call(lambda x: functional.channel_shuffle(x, 3)), (2, 6, 3, 5), NORMAL),
    "running sum": (Call(lambda x: x.cumsum(1)), (3, 9, 5), NORMAL),
    "running sum, last": (Call(lambda x: x.cumsum(-1)), (3, 2, 5, 40), NORMAL),
    "sorted": (Call(lambda x: x.sort(1, descending=True).values), (3, 9, 5), NORMAL),
    "largest three": (Call(lambda x: x.topk(3, 1).values), (3, 9, 5), NORMAL),
    "smallest two": (Call(lambda x: x.topk(2, -1, largest=False).values), (3, 9, 5), NORMAL),
    "mean": (Call(lambda x: x.mean((1, 3))), (3, 5, 9, 11), NORMAL),
    "largest of a dim": (Call(lambda x: x.max(2).values), (3, 5, 9, 11), NORMAL),
    "smallest of dims": (Call(lambda x: x.amin((0, 2))), (3, 5, 9, 11), NORMAL),
    "largest of all": (Call(lambda x: x.max() * x), (3, 5, 9), NORMAL),
    "norm": (Call(lambda x: torch.linalg.vector_norm(x, dim=1)), (3, 5, 9, 11), NORMAL),
    "norm of order 1": (Call(lambda x: torch.linalg.vector_norm(x, 1)), (3, 5, 9), NORMAL),
    "cosine": (
        Call(lambda x: functional.cosine_similarity(x, x.flip(0), dim=1)), (3, 5, 9), NORMAL,
    ),
    "variance": (Call(lambda x: x.var((1, 2))), (3, 5, 9, 11), NORMAL),
    "deviation": (Call(lambda x: x.std(0, correction=0)), (3, 5, 9, 11), NORMAL),
    "sum": (Call(lambda x: x.sum(-1, keepdim=True)), (3, 5, 9, 11), NORMAL),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
class TestLayer:
    """A layer computes what float64 PyTorch computes, with one set of bits."""

    def test_agrees_with_float64(self, name):
        layer, shape, tolerance = LAYERS[name]
        layer, x = with_drawn_weights(copy.deepcopy(layer)), draw("x", *shape)
        dy = draw("dy", *layer(x).shape)
        found = run(layer, x, dy, exact=True)
        truth = run(copy.deepcopy(layer).double(), x.double(), dy.double(), exact=False)
        assert found.keys() == truth.keys()
        for key, expected in truth.items():
            assert found[key].shape == expected.shape, key
            error = (found[key].double() - expected).abs().max()
            assert error <= tolerance * expected.abs().max().clamp(min=1e-9), (key, float(error))

    def test_threads_and_layout_change_nothing(self, name):
        layer, shape, _ = LAYERS[name]
        layer, x = with_drawn_weights(copy.deepcopy(layer)), draw("x", *shape)
        dy = draw("dy", *layer(x).shape)
        seen = set()
        for number in (1, 2, 3, 7):
            threads.set_threads(number)
            for laid_out in layouts(x):
                found = digest(run(layer, laid_out, dy, exact=True))
                seen.add(tuple(sorted(found.items())))
        assert len(seen) == 1


class TestNormalisation:
    """Where float32 normalisation loses digits, exact sums keep them."""

    @pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
    def test_a_large_mean_does_not_drown_the_variance(self, offset):
        x = draw("x", 16, 4, 8, 8) * 0.5 + offset
        with mode.arithmetic():
            y = nn.BatchNorm2d(4)(x)
        truth = nn.BatchNorm2d(4).double()(x.double())
        assert (y.double() - truth).abs().max() <= 2e-6 * max(offset, 1)

    def test_a_constant_channel_is_zero(self):
        with mode.arithmetic():
            y = nn.BatchNorm2d(2)(torch.full((4, 2, 3, 3), 1234.5678))
        assert (y == 0).all()

    def test_a_sample_does_not_depend_on_its_batch_when_evaluating(self):
        layer, x = with_drawn_weights(nn.BatchNorm2d(4)).eval(), draw("x", 5, 4, 6, 6)
        with mode.arithmetic():
            together = layer(x)
            alone = torch.cat([layer(x[n : n + 1]) for n in range(5)])
        assert torch.equal(together, alone)


def attend(x, mask=None):
    """Attention of a tensor to itself, (samples, heads, tokens, width)."""
    return functional.scaled_dot_product_attention(x, x * 0.5, x + 1.0, attn_mask=mask)


class TestAttention:
    """Attention in torch's math mode, with and without masks."""

    MASKS = {  # noqa: RUF012
        "none": None,
        "causal": torch.ones(6, 6, dtype=torch.bool).tril(),
        "a masked row": torch.ones(6, 6, dtype=torch.bool).tril(-1),
        "additive": torch.arange(36.0).reshape(6, 6) / -9,
    }

    @pytest.mark.parametrize("name", MASKS)
    def test_agrees_with_float64(self, name):
        mask = self.MASKS[name]
        x, dy = draw("x", 2, 3, 6, 8), draw("dy", 2, 3, 6, 8)
        found = run(Call(lambda x: attend(x, mask)), x, dy, exact=True)
        exact_mask = mask.double() if name == "additive" else mask
        truth = run(Call(lambda x: attend(x, exact_mask)), x.double(), dy.double(), exact=False)
        for key, expected in truth.items():
            error = (found[key].double() - expected).abs().max() / expected.abs().max()
            assert error <= PRODUCT, (key, float(error))


class TestEmbedding:
    """Rows that are used twice add their gradients exactly."""

    def test_gradient_counts_repetitions(self):
        layer = nn.Embedding(7, 4, padding_idx=0)
        with mode.arithmetic():
            y = layer(torch.tensor([[0, 1, 1], [6, 6, 6]]))
            y.backward(torch.full_like(y, 0.1))
        expected = [0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.3]
        assert layer.weight.grad[:, 0].tolist() == pytest.approx(expected, rel=1e-6)
