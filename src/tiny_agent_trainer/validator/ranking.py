# SPDX-License-Identifier: Apache-2.0
"""Metrics of the order in which scores put the samples: AUROC, average precision, their curves.

All of them come from one table of integers: how many positives and negatives score at least t, for
every distinct score t. Samples with equal scores enter together, so their order cannot matter.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64

from tiny_agent_trainer.reports.measurement import GRID_BITS, Mean, Measurement, Metric
from tiny_agent_trainer.reports.validation_report import ClassResult, Curve, CurvePoint, Task

CURVE_POINTS_LIMIT = 256
"""Most points of a curve in a report; more would only make files larger, not drawings finer."""

_LIMB_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Distinct scores, falling, and how many positives and negatives reach each of them."""

    thresholds: Float32[np.ndarray, " g"]
    true_positives: Int64[np.ndarray, " g"]
    false_positives: Int64[np.ndarray, " g"]

    @property
    def num_positives(self) -> int:
        """All positives."""
        return int(self.true_positives[-1]) if len(self.true_positives) else 0

    @property
    def num_negatives(self) -> int:
        """All negatives."""
        return int(self.false_positives[-1]) if len(self.false_positives) else 0

    @property
    def positives_here(self) -> Int64[np.ndarray, " g"]:
        """Positives that score exactly the threshold."""
        return np.diff(self.true_positives, prepend=0)

    @property
    def negatives_here(self) -> Int64[np.ndarray, " g"]:
        """Negatives that score exactly the threshold."""
        return np.diff(self.false_positives, prepend=0)


def rank(scores: Float32[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> Ranking:
    """Sort finite scores, highest first, and count; -0.0 and 0.0 are one score."""
    order = np.argsort(scores)[::-1]
    falling = scores[order] + np.float32(0)  # -0.0 becomes 0.0
    changes = np.flatnonzero(falling[1:] != falling[:-1])
    last_of_group = np.append(changes, len(falling) - 1) if len(falling) else changes
    true_positives = np.cumsum(positive[order], dtype=np.int64)[last_of_group]
    return Ranking(
        thresholds=falling[last_of_group],
        true_positives=true_positives,
        false_positives=last_of_group + 1 - true_positives,
    )


def auroc(name: str, ranking: Ranking) -> Measurement:
    """Area under the ROC curve: how often a positive outscores a negative, ties counting half.

    The numerator is 2 * concordant + tied pairs, the denominator 2 * positives * negatives, both
    exact: at most 2^62 * 2 for 2^31 samples, where half of them are positive, is still in int64.

    Source:
        Mann and Whitney, Ann. Math. Statist. 18 (1947), equation for U; Bamber, J. Math. Psychol.
        12 (1975): it equals the area under the ROC curve with straight lines through ties.
    """
    below = ranking.num_negatives - ranking.false_positives
    pairs = ranking.positives_here * (2 * below + ranking.negatives_here)
    return Measurement(
        name=f"auroc[{name}]",
        numerator=int(np.sum(pairs, dtype=np.int64)),
        denominator=2 * ranking.num_positives * ranking.num_negatives,
        over=f"pairs of a sample of class {name} and one without it",
    )


def average_precision(name: str, ranking: Ranking) -> Measurement:
    """Average precision: the mean, over positives, of the precision at their score.

    Guarantees:
        Each distinct score contributes floor(2^64 * positives_here * TP / (TP + FP)) exactly, so
        the result is below the rational value by less than 2^-64 and never above it.

    Source:
        scikit-learn, `average_precision_score`: sum of (R_n - R_(n-1)) * P_n, no interpolation.
    """
    reached = ranking.true_positives + ranking.false_positives
    whole, rest = np.divmod(ranking.positives_here * ranking.true_positives, reached)
    high, rest = np.divmod(rest << _LIMB_BITS, reached)
    low = (rest << _LIMB_BITS) // reached
    limbs = [int(np.sum(limb, dtype=np.int64)) for limb in (whole, high, low)]
    return Measurement(
        name=f"average_precision[{name}]",
        numerator=(limbs[0] << GRID_BITS) + (limbs[1] << _LIMB_BITS) + limbs[2],
        denominator=ranking.num_positives << GRID_BITS,
        over=f"samples of class {name}",
    )


def curve(ranking: Ranking) -> Curve:
    """The points that ROC and precision-recall curves share, thinned to `CURVE_POINTS_LIMIT`.

    A long curve is cut into equal steps of TPR + FPR and keeps the first point of each step, so
    no two neighbours are further apart than a step and the points of one score.
    """
    positives, negatives = ranking.num_positives, ranking.num_negatives
    kept = np.arange(len(ranking.thresholds)) if positives and negatives else np.arange(0)
    if len(kept) > CURVE_POINTS_LIMIT:
        travelled = ranking.true_positives * negatives + ranking.false_positives * positives
        steps = range(1, CURVE_POINTS_LIMIT + 1)
        goals = [2 * positives * negatives * step // CURVE_POINTS_LIMIT for step in steps]
        kept = np.unique(np.searchsorted(travelled, np.array(goals, dtype=np.int64)))
    return Curve(
        num_positives=positives,
        num_negatives=negatives,
        num_thresholds=len(ranking.thresholds),
        points=tuple(
            CurvePoint(threshold=threshold, true_positives=hits, false_positives=alarms)
            for threshold, hits, alarms in zip(
                ranking.thresholds[kept].tolist(),
                ranking.true_positives[kept].tolist(),
                ranking.false_positives[kept].tolist(),
                strict=True,
            )
        ),
    )


def headline(task: Task, results: tuple[ClassResult, ...]) -> tuple[Metric, ...]:
    """AUROC and average precision of the whole split.

    Two classes: of the last class. More classes, or labels: the unweighted mean over them.

    Source:
        MedMNIST, `Evaluator.getAUC`; it fails where a class is absent, here that is undefined.
    """
    return (
        _overall("auroc", task, tuple(result.auroc for result in results)),
        _overall("average_precision", task, tuple(result.average_precision for result in results)),
    )


def _overall(name: str, task: Task, parts: tuple[Measurement, ...]) -> Metric:
    if task == "multiclass" and len(parts) == 2:
        return replace(parts[-1], name=name)
    return Mean(name=name, of=parts)
