# SPDX-License-Identifier: Apache-2.0
"""What exact arithmetic refuses, and how it says so.

Not tested here: what the table computes (tests/reference/exact).
"""

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import draws, mode
from tiny_agent_trainer.exact.contractions import current


class Strange(nn.Module):
    """Uses an operation that has no exact definition."""

    def forward(self, x):
        return torch.linalg.qr(x).R


class Halving(nn.Module):
    """Converts to half precision."""

    def forward(self, x):
        return x.half()


class TestMode:
    """The table fails closed: op, module path and remedy are named."""

    def test_names_operation_module_and_remedy(self):
        network = nn.Sequential(nn.Sequential(nn.Identity(), Strange()))
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError) as caught:
            network(torch.eye(3))
        message = str(caught.value)
        assert "aten.linalg_qr" in message
        assert "module 0.1 (Strange)" in message
        assert 'arithmetic = "native"' in message

    def test_refuses_half_precision(self):
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match="float16"):
            Halving()(torch.ones(2))

    def test_refuses_autocast_around_and_inside(self):
        with (
            torch.autocast("cpu"),
            pytest.raises(errors.UnsupportedOperationError, match="autocast"),
            mode.arithmetic(),
        ):
            pass
        with (
            mode.arithmetic(),
            torch.autocast("cpu"),
            pytest.raises(errors.UnsupportedOperationError, match="bfloat16"),
        ):
            torch.ones(2, 2) @ torch.ones(2, 2)

    def test_a_nan_names_the_module(self):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        x = torch.ones(3, 4)
        x[1, 2] = float("nan")
        with mode.arithmetic(), pytest.raises(errors.NotFiniteError, match=r"module 1 \(Linear\)"):
            network(x)

    def test_evaluates_without_gradients_and_in_inference_mode(self):
        layer, x = nn.Linear(4, 2), torch.ones(3, 4)
        with mode.arithmetic():
            expected = layer(x).detach().clone()
            with torch.no_grad():
                assert (layer(x) == expected).all()
            with torch.inference_mode():
                assert (layer(x) == expected).all()

    def test_refuses_complex_numbers_and_float64_products(self):
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match="complex64"):
            torch.ones(2) * 1j
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match="float64"):
            torch.ones(2, 2).double() @ torch.ones(2, 2).double()
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match="float64"):
            nn.functional.batch_norm(torch.ones(3, 4).double(), None, None, training=True)

    def test_refuses_a_users_function_and_restores_torchs(self):
        class Hidden(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return torch.from_numpy(x.detach().numpy() * 2)

        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match="Hidden"):
            Hidden.apply(torch.ones(2))
        assert Hidden.apply(torch.ones(2)).tolist() == [2, 2]

    def test_a_transformer_layer_evaluates_by_its_operations(self):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
        x = torch.arange(48.0).reshape(1, 6, 8) / 48
        with mode.arithmetic(), torch.no_grad():
            found = layer(x)
        assert torch.allclose(found, layer(x), atol=1e-2)

    def test_entered_twice_is_entered_once(self):
        """Otherwise the outer one would round what the engine of the inner one computes with."""
        left, right = torch.arange(12.0).view(3, 4) / 7, torch.arange(8.0).view(4, 2) / 3
        current.set_engine("float64")
        try:
            with mode.arithmetic():
                once = left @ right
                with mode.arithmetic():
                    twice = left @ right
                after = left @ right
        finally:
            current.set_engine("auto")
        assert torch.equal(once, twice)
        assert torch.equal(once, after)

    def test_leaves_no_trace(self):
        with mode.arithmetic():
            pass
        assert torch.linalg.qr(torch.eye(2)).R.shape == (2, 2)


class TestDraws:
    """Dropout draws from the stream of (base_seed, step, shard, ordinal of the call)."""

    def dropped(self, base_seed, step, shard, calls=1):
        draws.begin(base_seed, step, shard)
        with mode.arithmetic():
            made = [nn.functional.dropout(torch.ones(4000), 0.3) for _ in range(calls)]
        draws.end()
        return made

    def test_is_a_function_of_its_name(self):
        (first,), (again,) = self.dropped(1, 2, 3), self.dropped(1, 2, 3)
        assert torch.equal(first, again)
        for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
            assert not torch.equal(first, self.dropped(*other)[0])

    def test_calls_differ_and_keep_their_share(self):
        first, second = self.dropped(1, 2, 3, calls=2)
        assert not torch.equal(first, second)
        assert float((first != 0).float().mean()) == pytest.approx(0.7, abs=0.03)
        assert set(first.tolist()) == {0.0, float(torch.tensor(1.0) / torch.tensor(0.7))}

    def test_checkpointing_would_draw_twice(self):
        layer, x = nn.Linear(4, 4), torch.ones(2, 4, requires_grad=True)

        def part(value):
            return nn.functional.dropout(layer(value), 0.5)

        draws.begin(1, 2, 3)
        with mode.arithmetic():
            y = torch.utils.checkpoint.checkpoint(part, x, use_reentrant=False)
            with pytest.raises(errors.UnsupportedOperationError, match="checkpointing"):
                y.sum().backward()
        draws.end()

    def test_outside_of_training_drawing_is_refused(self):
        draws.end()
        with mode.arithmetic(), pytest.raises(errors.UnsupportedOperationError, match="eval"):
            nn.functional.dropout(torch.ones(4), 0.5)
