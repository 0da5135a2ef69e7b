# SPDX-License-Identifier: Apache-2.0
"""Batches: which samples, in which order, as which arrays. Stateless, so any one can be asked."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.tokenizer import cohort, cropping, samples, tokenization
from tiny_agent_trainer.tokenizer.augmentation import augmentation
from tiny_agent_trainer.tokenizer.cache import rows
from tiny_agent_trainer.tokenizer.samples import LabelArray


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples that are worked on together.

    Attributes:
        samples: Ordinals, int64, shape (n,).
        inputs: What the network receives, float32, shape (n, ...).
        labels: As in the cohort.
        views: Rows of `inputs` that belong to each sample, one after the other.
    """

    samples: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.float32]
    labels: LabelArray
    views: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Brings batches of a cohort.

    Guarantees:
        A sample's input depends on the sample, and in training on the epoch and `base_seed`;
        never on the batch it is in or on what was asked before.
    """

    cohort: cohort.Cohort
    tokenizer: tokenization.AbstractTokenizer
    augmentation: augmentation.Augmentation
    base_seed: int

    def training_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Ordinals of the training split in the order of an epoch, shape (n,)."""
        members = self.cohort.splits["train"]
        stream = randomness.stream(self.base_seed, "shuffle", epoch)
        return members[stream.permutation(len(members))]

    def training_batch(self, epoch: int, chosen: npt.NDArray[np.int64]) -> Batch:
        """Chosen training samples, cropped and augmented as the epoch says."""
        images = self._training_images(epoch, chosen)
        words = None
        if self.augmentation.is_active:
            words = self.augmentation.draw(epoch, chosen)
            ratios = self.cohort.plane_ratios
            chosen_ratios = None if ratios is None else ratios[chosen]
            images = self.augmentation.move(images, words, chosen_ratios)
        tokens = self.tokenizer.encode(images)
        if words is not None:
            tokens = self.augmentation.tint(tokens, words)
        return Batch(samples=chosen, inputs=tokens, labels=self.cohort.labels[chosen])

    def plain_batch(self, chosen: npt.NDArray[np.int64]) -> Batch:
        """Chosen samples as they are; of images that are cropped, the middle."""
        prepared, patches = self.cohort.prepared_NCS, self.tokenizer.options.patches
        images = (
            cropping.centre_crops(prepared, chosen, patches) if patches.size else prepared[chosen]
        )
        rows.release(prepared)
        tokens = self.tokenizer.encode(images)
        return Batch(samples=chosen, inputs=tokens, labels=self.cohort.labels[chosen])

    def plain_batches(self, split: samples.Split, batch_size: int) -> Iterator[Batch]:
        """A whole split in the order of ordinals, by as many views as it is evaluated by.

        Inputs are at most `batch_size`, or the views of one sample.
        """
        members, views = self.cohort.splits[split], self._num_views
        size = max(batch_size // views, 1)
        for start in range(0, len(members), size):
            chosen = members[start : start + size]
            yield self.plain_batch(chosen) if views == 1 else self._grid_batch(chosen)

    @property
    def _num_views(self) -> int:
        shape = self.cohort.prepared_NCS.shape[1:]
        return cropping.count_views(shape, self.tokenizer.options.patches)

    def _training_images(
        self, epoch: int, chosen: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.integer]:
        prepared, patches = self.cohort.prepared_NCS, self.tokenizer.options.patches
        marked, seed = self.cohort.marked_NCS, self.base_seed
        images: npt.NDArray[np.integer] = (
            cropping.training_crops(prepared, chosen, patches, epoch, seed, marked)
            if patches.size
            else prepared[chosen]
        )
        rows.release(prepared)
        if marked is not None:
            rows.release(marked)
        return images

    def _grid_batch(self, chosen: npt.NDArray[np.int64]) -> Batch:
        prepared = self.cohort.prepared_NCS
        images = cropping.grid_crops(prepared, chosen, self.tokenizer.options.patches)
        rows.release(prepared)
        return Batch(
            samples=chosen,
            inputs=self.tokenizer.encode(images),
            labels=self.cohort.labels[chosen],
            views=self._num_views,
        )
