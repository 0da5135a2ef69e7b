# SPDX-License-Identifier: Apache-2.0
"""Batches: which samples, in which order, as which arrays. Stateless, so any one can be asked."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.tokenizer import cohort, samples, tokenization
from tiny_agent_trainer.tokenizer.augmentation import augmentation


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples that are worked on together.

    Attributes:
        samples: Ordinals, int64, shape (n,).
        inputs: What the network receives, float32, shape (n, ...).
        labels: int64, shape (n,) or (n, classes).
    """

    samples: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


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
        """Chosen training samples, augmented as the epoch says."""
        if not self.augmentation.is_active:
            return self.plain_batch(chosen)
        words = self.augmentation.draw(epoch, chosen)
        moved = self.augmentation.move(self.cohort.images(chosen), words)
        tokens = self.augmentation.tint(self.tokenizer.encode(moved), words)
        return Batch(samples=chosen, inputs=tokens, labels=self.cohort.labels[chosen])

    def plain_batch(self, chosen: npt.NDArray[np.int64]) -> Batch:
        """Chosen samples as they are."""
        tokens = self.tokenizer.encode(self.cohort.images(chosen))
        return Batch(samples=chosen, inputs=tokens, labels=self.cohort.labels[chosen])

    def plain_batches(self, split: samples.Split, batch_size: int) -> Iterator[Batch]:
        """A whole split in the order of ordinals."""
        members = self.cohort.splits[split]
        for start in range(0, len(members), batch_size):
            yield self.plain_batch(members[start : start + batch_size])
