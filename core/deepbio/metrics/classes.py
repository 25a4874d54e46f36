"""How good a classification is: right answers per class, ranking, and whether probabilities mean what they say."""

from __future__ import annotations

import numpy as np

__all__ = ["area_under_curve", "calibration_error", "confusion", "reliability"]

_BINS = 15


def confusion(truth: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """Count how often each class was taken for each.

    Parameters
    ----------
    truth, found : ndarray of int, shape (N,)
        Classes from 0.
    count : int
        Number of classes.

    Returns
    -------
    ndarray of int64, shape (count, count)
        Rows are the true classes, columns those that were found.

    Examples
    --------
    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    pairs = np.asarray(truth) * count + np.asarray(found)
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def area_under_curve(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: how often a true case scores above a false one (ties count half).

    Hanley & McNeil, Radiology 143:29 (1982), doi:10.1148/radiology.143.1.7063747.

    Parameters
    ----------
    truth : ndarray of bool, shape (N,)
        Whether each case is of the class.
    score : ndarray of float, shape (N,)
        Its probability.

    Returns
    -------
    float
        NaN where all cases are of one kind.

    Examples
    --------
    >>> area_under_curve(np.array([True, False, True, False]), np.array([0.9, 0.1, 0.4, 0.4]))
    0.875
    """
    truth = np.asarray(truth, bool)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place]
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def reliability(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = _BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often the likeliest class is right, by the probability that it was given.

    Parameters
    ----------
    truth : ndarray of int, shape (N,)
        Classes from 0.
    probabilities : ndarray of float, shape (N, K)
        Of each class.
    bins : int
        Equal parts of 0 to 1.

    Returns
    -------
    confidence, accuracy : ndarray of float, shape (bins,)
        Means over the cases of each bin; NaN where there are none.
    counts : ndarray of int, shape (bins,)
    """
    given = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    place = np.minimum((given * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, given, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
    return confidence, accuracy, counts


def calibration_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = _BINS) -> float:
    """Expected calibration error: the mean gap between probability and how often it is right.

    Guo et al., ICML 2017 (arXiv:1706.04599), with bins of equal width.

    Parameters
    ----------
    truth, probabilities, bins
        As in `reliability`.

    Examples
    --------
    >>> probabilities = np.array([[0.8, 0.2]] * 5)
    >>> round(calibration_error(np.array([0, 0, 0, 0, 1]), probabilities), 6)
    0.0
    >>> round(calibration_error(np.array([0, 0, 1, 1, 1]), probabilities), 6)
    0.4
    """
    confidence, accuracy, counts = reliability(truth, probabilities, bins)
    filled = counts > 0
    gaps = np.abs(confidence[filled] - accuracy[filled])
    return float((gaps * counts[filled]).sum() / counts.sum())
