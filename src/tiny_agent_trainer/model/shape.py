# SPDX-License-Identifier: Apache-2.0
"""What a network is built for: the shape of its input and the number of its outputs."""

import dataclasses

from tiny_agent_trainer import errors


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """One sample as the tokenizer delivers it, and what is wanted of it.

    Attributes:
        kind: `image` for (channels, *spatial), `patches` for (patches, values per patch).
        sizes: The shape itself.
        classes: Number of outputs.
    """

    kind: str
    sizes: tuple[int, ...]
    classes: int

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.sizes[0]

    @property
    def dims(self) -> int:
        """2 for images, 3 for volumes."""
        return len(self.sizes) - 1

    def require_kind(self, kind: str, network: str) -> None:
        """Refuse input of the wrong kind.

        Raises:
            ModelError: The tokenizer delivers another kind than the network reads.
        """
        if self.kind != kind:
            raise errors.ModelError(
                where=f"[model] name = {network!r}",
                expected=f'input of kind "{kind}"',
                found=f'[tokenizer] kind = "{self.kind}"',
                remedy=f'write kind = "{kind}" under [tokenizer], or choose another network',
            )
