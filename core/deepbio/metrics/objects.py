"""How well predicted objects agree with true ones: pairs of them, and their average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepbio.metrics.overlap import check_shapes

__all__ = ["IOU_THRESHOLDS", "Matching", "average_precision", "match_objects", "overlap_matrix"]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(9))
"""Thresholds whose mean is reported: 0.5, 0.55 ... 0.9."""


@dataclass(frozen=True)
class Matching:
    """How predicted and true objects pair up at one threshold.

    Attributes
    ----------
    threshold : float
        Least intersection over union of a pair.
    true_positive, false_positive, false_negative : int
        Pairs, predicted objects without a partner, true objects without one.
    """

    threshold: float
    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def precision(self) -> float:
        """Average precision as in the Data Science Bowl: TP / (TP + FP + FN); 1 if all are 0."""
        total = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / total if total else 1.0

    def __add__(self, other: Matching) -> Matching:
        return Matching(
            self.threshold,
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )


def overlap_matrix(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Intersection over union of every true with every predicted object.

    Parameters
    ----------
    truth, predicted : ndarray of int, same shape
        Label images; 0 is background. Labels need not be consecutive.

    Returns
    -------
    ndarray of float64, shape (true objects, predicted objects)

    Raises
    ------
    InputMismatch
        If the shapes differ.

    Examples
    --------
    >>> overlap_matrix(np.array([1, 1, 1, 0]), np.array([0, 5, 5, 5])).tolist()
    [[0.5]]
    """
    check_shapes(truth, predicted)
    one, first = _compact(truth)
    other, second = _compact(predicted)
    size = (len(first), len(second))
    both = np.bincount(one * size[1] + other, minlength=size[0] * size[1]).reshape(size)
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    iou = both / union
    return np.asarray(iou[first != 0][:, second != 0])


def _compact(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat labels numbered from 0 without gaps, and the label of each number."""
    flat = labels.ravel()
    if flat.size and flat.min() >= 0 and flat.max() < 4 * flat.size:
        # a table is much faster than sorting, which np.unique does
        present = np.bincount(flat) > 0
        return (np.cumsum(present) - 1)[flat], np.flatnonzero(present)
    values, numbers = np.unique(flat, return_inverse=True)
    return numbers, values


def match_objects(
    truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> list[Matching]:
    """Pair predicted with true objects, one to one, at each threshold.

    As in the 2018 Data Science Bowl (Caicedo et al., doi:10.1038/s41592-019-0612-7): a pair
    counts when its intersection over union exceeds the threshold. From 0.5 on each object has
    at most one such partner; below, the largest set of pairs is taken.

    Parameters
    ----------
    truth, predicted : ndarray of int, same shape
        Label images.
    thresholds : sequence of float
        Values of intersection over union.

    Returns
    -------
    list of Matching
        One per threshold.

    Examples
    --------
    >>> truth = np.array([[1, 1, 0, 2, 2, 2]])
    >>> found = np.array([[3, 3, 0, 0, 4, 4]])
    >>> [m.true_positive for m in match_objects(truth, found, (0.5, 0.9))]
    [2, 1]
    """
    iou = overlap_matrix(truth, predicted)
    result = []
    for threshold in thresholds:
        allowed = iou > threshold
        if threshold >= 0.5:
            pairs = int(allowed.sum())
        else:
            rows, columns = linear_sum_assignment(~allowed)
            pairs = int(allowed[rows, columns].sum())
        result.append(Matching(threshold, pairs, iou.shape[1] - pairs, iou.shape[0] - pairs))
    return result


def average_precision(
    truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> np.ndarray:
    """Average precision of objects at each threshold: TP / (TP + FP + FN).

    Returns
    -------
    ndarray of float64, shape (thresholds,)

    Examples
    --------
    >>> average_precision(np.array([1, 1, 0]), np.array([1, 1, 2]), (0.5,)).tolist()
    [0.5]
    """
    return np.array([m.precision for m in match_objects(truth, predicted, thresholds)])
