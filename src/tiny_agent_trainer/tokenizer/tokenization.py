# SPDX-License-Identifier: Apache-2.0
"""What every tokenizer promises, and the two there are: images for CNNs, patches for transformers.

The way of an image: decoded -> `preparation.prepare` (still integers) -> `encode`
(normalised float32 tokens). `decode` goes back to the prepared integers: the layout exactly, the
integers exactly as long as the stored range is at most 16 bits wide.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, Integer

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer import cropping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Mean and deviation of each channel, in stored units."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class AbstractTokenizer(abc.ABC):
    """From prepared integers to the network's input and back.

    Args:
        options: The section of the configuration.
        shape: Shape of one prepared image: (channels, *spatial).
        dtype: Integer type of prepared images.
        normalization: Mean and deviation of each channel.
    """

    def __init__(
        self,
        options: TokenizerSection,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        normalization: Normalization,
    ) -> None:
        self.options = options
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.normalization = normalization
        ones = (1,) * (len(self.shape) - 1)
        self._mean = np.array(normalization.mean, np.float32).reshape(-1, *ones)
        self._deviation = np.array(normalization.deviation, np.float32).reshape(-1, *ones)

    def encode(
        self, prepared_NCS: Integer[np.ndarray, "n channels *spatial"]
    ) -> npt.NDArray[np.float32]:
        """Normalise and arrange images; shape (n, *input_shape).

        Guarantees:
            (x - mean) / deviation in float32, two IEEE operations, each rounded once.
        """
        return self.arrange((prepared_NCS.astype(np.float32) - self._mean) / self._deviation)

    def decode(self, tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.integer]:
        """The prepared images, shape (n, channels, *spatial), that these tokens were made from.

        Guarantees:
            Equal to what `encode` was given, if no augmentation came between.
        """
        images = self.arrange_back(tokens).astype(np.float64)
        stored = np.rint(images * self._deviation.astype(np.float64) + self._mean)
        limits = np.iinfo(self.dtype)
        return np.clip(stored, limits.min, limits.max).astype(self.dtype)

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the network receives it."""

    @abc.abstractmethod
    def arrange(self, images_NCS: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Bring normalised images, shape (n, channels, *spatial), into the form of the tokens."""

    @abc.abstractmethod
    def arrange_back(self, tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The inverse of `arrange`, exactly."""


@final
class ImageTokenizer(AbstractTokenizer):
    """Images as tensors (n, channels, height, width) or (n, channels, depth, height, width)."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, *spatial)."""
        return self.shape

    def arrange(self, images_NCS: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Images as they are."""
        return images_NCS

    def arrange_back(self, tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Images as they are."""
        return tokens


@final
class PatchTokenizer(AbstractTokenizer):
    """Images as sequences of flattened patches (n, patches, channels * patch_size ** dims).

    Patches come in row-major order of their places; inside a patch the order is
    (channel, *place within the patch).
    """

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(patches, values per patch)."""
        channels, *spatial = self.shape
        edge = self.options.patch_size
        patches = int(np.prod([length // edge for length in spatial]))
        return patches, channels * edge ** len(spatial)

    def arrange(
        self, images_NCS: npt.NDArray[np.float32]
    ) -> Float32[np.ndarray, "n patches values"]:
        """Cut into patches."""
        channels, *spatial = self.shape
        edge, dims = self.options.patch_size, len(spatial)
        counts = [length // edge for length in spatial]
        split = [part for count in counts for part in (count, edge)]
        cut = images_NCS.reshape(len(images_NCS), channels, *split)
        places, inside = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
        patches = cut.transpose(0, *places, 1, *inside)
        return np.ascontiguousarray(patches).reshape(len(images_NCS), *self.input_shape)

    def arrange_back(self, tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Put patches back in their places."""
        channels, *spatial = self.shape
        edge, dims = self.options.patch_size, len(spatial)
        counts = [length // edge for length in spatial]
        cut = tokens.reshape(len(tokens), *counts, channels, *[edge] * dims)
        order = [part for dim in range(dims) for part in (1 + dim, 2 + dims + dim)]
        return np.ascontiguousarray(cut.transpose(0, 1 + dims, *order)).reshape(
            len(tokens), *self.shape
        )


_KINDS: dict[str, type[AbstractTokenizer]] = {"image": ImageTokenizer, "patches": PatchTokenizer}


def require_square_pixels(options: TokenizerSection, ratios: npt.NDArray[np.float64]) -> None:
    """Refuse to turn by quarters what would change its shape.

    Args:
        options: The section of the configuration.
        ratios: Distance of columns over that of rows of every image to be turned, shape (n,).

    Raises:
        DatasetError: Pixels are not square, with the number of images.
    """
    is_long = ratios != 1
    if options.augmentation.quarter_turns and is_long.any():
        raise errors.DatasetError(
            where="[tokenizer.augmentation] quarter_turns",
            expected="training images of square pixels, which keep their shape when turned",
            found=f"{int(is_long.sum())} of {len(ratios)} whose columns lie "
            f"{ratios[is_long][0]:.4g} times as far apart as their rows",
            remedy="leave quarter_turns out (rotate_degrees turns in millimetres), or resample "
            "with equal `spacing_mm` under [tokenizer]",
        )


def build_tokenizer(
    options: TokenizerSection,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    normalization: Normalization,
) -> AbstractTokenizer:
    """The tokenizer that the configuration names, for images of a shape or patches of them.

    Raises:
        DatasetError: The patch size does not divide the image, images that are not square are
            to be rotated, or they are smaller than the patches to be cut out.
    """
    shape = cropping.patch_shape(shape, options.patches)
    lengths = shape[1:]
    if options.augmentation.quarter_turns and lengths[-1] != lengths[-2]:
        raise errors.DatasetError(
            where="[tokenizer.augmentation] quarter_turns",
            expected="square images",
            found=f"images of {' x '.join(map(str, lengths))}",
            remedy="leave quarter_turns out, or resize the images",
        )
    if options.kind == "patches" and any(length % options.patch_size for length in lengths):
        raise errors.DatasetError(
            where="[tokenizer] patch_size",
            expected=f"a divisor of every edge of the image, {' x '.join(map(str, lengths))}",
            found=str(options.patch_size),
            remedy="choose another patch_size, or resize the images",
        )
    return _KINDS[options.kind](options, shape, dtype, normalization)
