# SPDX-License-Identifier: Apache-2.0
"""What delivering an epoch from the full cache costs of training on it.

The network, optimiser and batch size are those of `exp_001_baseline`, the images have 64 pixels.
Both are measured on one core: batches alone, and the steps of our loop, which asks for the same
batches.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import prepared_study, training_overhead

_BATCH = 64
_NETWORK = """
[model]
name = "cnn"
layers = 3
width = 16
[optimizer]
name = "adam"
lr = 3e-3
"""


def share(source: Path, keys: Sequence[str], pairs: int) -> None:
    """Print seconds of both and the share in percent, in either arithmetic."""
    with tempfile.TemporaryDirectory() as scratch:
        study = prepared_study.Study(source, keys, Path(scratch) / "study")
        cache = Path(scratch) / "cache"
        study.read(cache)
        for arithmetic in ("native", "exact"):
            text = study.tables(cache) + _NETWORK
            case = training_overhead.Case(text, _BATCH, 1, arithmetic=arithmetic, threads=1)
            case.steps = -(-case.num_training // _BATCH)
            case.ours()
            timed = [(_deliver(case), case.ours()) for _ in range(pairs)]
            ours, training = (statistics.median(times) for times in zip(*timed, strict=True))
            print(
                f"warm epoch of {case.num_training} images in {arithmetic} arithmetic: delivering "
                f"{ours * 1e3:.3f} ms, training {training * 1e3:.1f} ms, "
                f"{100 * ours / training:.2f} %"
            )


def _deliver(case: training_overhead.Case) -> float:
    feed = case.data.feed
    began = time.perf_counter()
    order = feed.training_order(0)
    for start in range(0, len(order), _BATCH):
        feed.training_batch(0, order[start : start + _BATCH])
    return time.perf_counter() - began
