# SPDX-License-Identifier: Apache-2.0
"""Vision transformer on patch tokens.

Source:
    Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), with layer norm before each branch.
    Differs from it in: the tokens are averaged instead of adding a class token.
"""

from typing import final

import torch
from torch import nn
from torch.nn import functional

from tiny_agent_trainer.config.models import VitOptions
from tiny_agent_trainer.model import shape

_INITIAL_DEVIATION = 0.02
"""Standard deviation of the initial position embedding, as in the paper's code."""


def build_vit(options: VitOptions, target: shape.InputShape) -> nn.Module:
    """A transformer for the tokens of `[tokenizer] kind = "patches"`."""
    target.require_kind("patches", "vit")
    patches, values = target.sizes
    return VisionTransformer(options, patches, values, target.classes)


@final
class VisionTransformer(nn.Module):
    """Embed patches, add positions, encode, average, classify."""

    def __init__(self, options: VitOptions, patches: int, values: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(values, options.width)
        self.position = nn.Parameter(torch.empty(1, patches, options.width))
        nn.init.normal_(self.position, std=_INITIAL_DEVIATION)
        self.blocks = nn.Sequential(*(EncoderBlock(options) for _ in range(options.layers)))
        self.norm = nn.LayerNorm(options.width)
        self.classifier = nn.Linear(options.width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of shape (n, patches, values) to logits of shape (n, classes)."""
        encoded = self.blocks(self.embedding(tokens) + self.position)
        return self.classifier(self.norm(encoded).mean(dim=1))  # type: ignore[no-any-return]


@final
class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward network, each behind a layer norm and a shortcut."""

    def __init__(self, options: VitOptions) -> None:
        super().__init__()
        width = options.width
        self.heads = options.heads
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, options.mlp_ratio * width),
            nn.GELU(),
            nn.Linear(options.mlp_ratio * width, width),
        )
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (n, patches, width) to the same."""
        x = x + self.dropout(self._attend(self.norm_attention(x)))
        return x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))  # type: ignore[no-any-return]

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        n, patches, width = x.shape
        split = self.query_key_value(x).reshape(n, patches, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.projection(mixed.transpose(1, 2).reshape(n, patches, width))  # type: ignore[no-any-return]
