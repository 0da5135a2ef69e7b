# SPDX-License-Identifier: Apache-2.0
"""Several views of one sample, such as patches of a volume, to one answer."""

import math

import numpy as np
import torch


def average(logits: torch.Tensor, views: int) -> torch.Tensor:
    """The mean of the logits of neighbouring rows.

    Args:
        logits: float32, shape (n * views, outputs); needs no gradient.
        views: How many rows belong to a sample.

    Returns:
        float32, shape (n, outputs).

    Guarantees:
        The sum is exact, then rounded once, divided and rounded to float32, whatever the order.
    """
    if views == 1:
        return logits
    rows = logits.numpy().reshape(-1, views, logits.shape[1])
    means = [[math.fsum(column) / views for column in one.T.tolist()] for one in rows]
    return torch.from_numpy(np.array(means, np.float32))
