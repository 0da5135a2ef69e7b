# SPDX-License-Identifier: Apache-2.0
"""Functions that torch composes of operations in a way that exact arithmetic replaces.

Both are decided above the level at which the table sees calls.
"""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def replaced() -> Iterator[None]:
    """Compose them our way inside."""
    with _attention_spelled_out(), _instance_norm_by_groups():
        yield


@contextlib.contextmanager
def _attention_spelled_out() -> Iterator[None]:
    """Keep torch from replacing whole transformer layers by one operation when evaluating."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _instance_norm_by_groups() -> Iterator[None]:
    """Instance norm without running statistics is group norm with a group per channel.

    torch makes it a batch norm of samples times channels, for which it copies every tensor into
    another layout and back, and repeats the weights.
    """
    original = torch.instance_norm

    def instance_norm(
        input: torch.Tensor,  # noqa: A002  # torch's name
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        use_input_stats: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool,
    ) -> torch.Tensor:
        if running_mean is not None or running_var is not None or not use_input_stats:
            return original(
                input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps,
                cudnn_enabled,
            )  # fmt: skip
        return torch.group_norm(input, input.shape[1], weight, bias, eps, cudnn_enabled)

    torch.instance_norm = instance_norm
    try:
        yield
    finally:
        torch.instance_norm = original
