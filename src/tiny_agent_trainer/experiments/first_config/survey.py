# SPDX-License-Identifier: Apache-2.0
"""What a folder's images are: counted while a reader looks at each of them once."""

import collections
import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.tokenizer import TokenizerSection
from tiny_agent_trainer.tokenizer.images import refusing
from tiny_agent_trainer.tokenizer.images.image import Image, Item, Listing, Refusal
from tiny_agent_trainer.tokenizer.preparation import intensity
from tiny_agent_trainer.tokenizer.samples import StoredArray

_LOWEST = -(1 << 15)
_VALUES = (1 << 16) - _LOWEST
"""Every value that int16, uint8 and uint16 hold."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What images have in common.

    Attributes:
        modality: As DICOM abbreviates it; "" when unknown.
        shape: Of the stored array, channels last.
        dtype: Name of its type.
        spacing_mm: Between neighbours; () when unknown.
    """

    modality: str
    shape: tuple[int, ...]
    dtype: str
    spacing_mm: tuple[float, ...]


class UnstorableError(Exception):
    """An image's values are no integers of at most 16 bits, and no range was chosen for them."""


class Survey:
    """Counts of what was seen; memory does not grow with the number of images.

    Args:
        preparation: Brings values that are no integers of at most 16 bits to such.

    Attributes:
        kinds: How many images there are of each kind.
        refusals: Files that could not be read, and why, in the order in which they were met.
    """

    def __init__(self, preparation: TokenizerSection | None = None) -> None:
        self._preparation = preparation or TokenizerSection()
        self.kinds: collections.Counter[Kind] = collections.Counter()
        self.refusals: list[Refusal] = []
        self._histograms: dict[str, npt.NDArray[np.int64]] = {}

    @property
    def histograms(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """How often every value from -32768 to 65535 occurs, by modality; int64, shape (98304,)."""
        return self._histograms

    @property
    def types(self) -> collections.Counter[str]:
        """How many images there are of each type."""
        found = collections.Counter[str]()
        for kind, count in self.kinds.items():
            found[kind.dtype] += count
        return found

    def watch(self, listing: Listing) -> Listing:
        """The same images, counted when they are read."""
        self.refusals += listing.refusals
        items = [
            dataclasses.replace(item, read=functools.partial(self._read, item))
            for item in listing.items
        ]
        return dataclasses.replace(listing, items=tuple(items))

    def count(self, stored: StoredArray, modality: str, spacing_mm: tuple[float, ...]) -> None:
        """Count one image."""
        kind = Kind(
            modality=modality, shape=stored.shape, dtype=stored.dtype.name, spacing_mm=spacing_mm
        )
        self.kinds[kind] += 1
        places = stored.reshape(-1).astype(np.int64) - _LOWEST
        counted = np.bincount(places, minlength=_VALUES)
        self._histograms[modality] = self._histograms.get(modality, 0) + counted

    def _read(self, item: Item) -> Image:
        try:
            image = item.read()
            stored = self._stored(image, item.key)
            self.count(stored, image.modality, image.spacing_mm)
        except errors.DatasetError as error:
            reason = refusing.reason_of(error, item.key)
            self.refusals.append(Refusal(key=item.key, reason=reason))
            raise
        return image

    def _stored(self, image: Image, key: str) -> StoredArray:
        """Values that can be counted.

        Raises:
            UnstorableError: They have to be brought to a range first.
        """
        try:
            return intensity.rescale(image.values, self._preparation, key)
        except errors.DatasetError as error:
            raise UnstorableError from error


def lowest_value() -> int:
    """The value that the first place of a histogram counts."""
    return _LOWEST
