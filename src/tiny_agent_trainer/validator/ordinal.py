# SPDX-License-Identifier: Apache-2.0
"""Metrics of grades, from the confusion matrix: how far off an answer is counts."""

from collections.abc import Sequence

from tiny_agent_trainer.reports.measurement import Figure, Measurement, Metric

Matrix = Sequence[Sequence[int]]


def headline(confusion: Matrix) -> tuple[Metric, ...]:
    """Quadratic weighted kappa and the mean distance in grades.

    Args:
        confusion: `confusion[true][called]` as counts, grades from the lowest to the highest.
    """
    return quadratic_weighted_kappa(confusion), rank_mae(confusion)


def quadratic_weighted_kappa(confusion: Matrix) -> Figure:
    """Agreement beyond chance, an error counting by the square of its distance.

    With w = (i - j)^2, O the counts and E = row sum * column sum / n it is 1 - sum(w O) / sum(w E),
    computed as one quotient of integers and rounded once. It is undefined where chance alone
    would make no error: all samples are of one grade and called so.

    Source:
        Cohen, Psychol. Bull. 70 (1968) 213; scikit-learn, `cohen_kappa_score(weights="quadratic")`.
    """
    true, called = (
        [sum(row) for row in confusion],
        [sum(row) for row in zip(*confusion, strict=True)],
    )
    count = sum(true)
    grades = range(len(true))
    found = count * sum((i - j) ** 2 * confusion[i][j] for i in grades for j in grades)
    by_chance = sum((i - j) ** 2 * true[i] * called[j] for i in grades for j in grades)
    return Figure(
        name="quadratic_weighted_kappa",
        value=(by_chance - found) / by_chance if by_chance else None,
        num_samples=count,
        reason="all samples are of one grade and called so",
    )


def rank_mae(confusion: Matrix) -> Measurement:
    """Mean distance between the true grade and the called one, in grades."""
    grades = range(len(confusion))
    return Measurement(
        name="rank_mae",
        numerator=sum(abs(i - j) * confusion[i][j] for i in grades for j in grades),
        denominator=sum(map(sum, confusion)),
    )
