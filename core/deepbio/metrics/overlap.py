"""How much the pixels of two segmentations overlap, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepbio.errors import InputMismatch

__all__ = ["check_shapes", "dice", "present_labels"]

_COUNTED = 2**16  # labels below this are counted in a table; sorting is much slower


def check_shapes(truth: np.ndarray, found: np.ndarray) -> None:
    """Refuse label images of different shapes.

    Raises
    ------
    InputMismatch
        With both shapes.
    """
    if truth.shape != found.shape:
        raise InputMismatch(
            f"The label images have shapes {truth.shape} and {found.shape}; they must be equal."
        )


def present_labels(*images: np.ndarray) -> list[int]:
    """Labels other than 0 that are in any of the images, in order.

    Examples
    --------
    >>> present_labels(np.array([0, 4, 4]), np.array([0, 2, 0]))
    [2, 4]
    """
    found: set[int] = set()
    for image in images:
        if image.size and image.min() >= 0 and image.max() < _COUNTED:
            found.update(np.flatnonzero(np.bincount(image.ravel())).tolist())
        else:
            found.update(np.unique(image).tolist())
    return sorted(found - {0})


def dice(truth: np.ndarray, found: np.ndarray, labels: Sequence[int] | None = None) -> dict[int, float]:
    """Dice coefficient of each class.

    Parameters
    ----------
    truth, found : ndarray of int, same shape
        Classes; 0 is background.
    labels : sequence of int, optional
        Classes to report; by default those in either image.

    Returns
    -------
    dict of int to float
        2 |A and B| / (|A| + |B|); 0 where a class is in one image only, NaN where it is in neither.

    Raises
    ------
    InputMismatch
        If the shapes differ.

    Examples
    --------
    >>> dice(np.array([1, 1, 0]), np.array([1, 0, 0]))
    {1: 0.6666666666666666}
    """
    check_shapes(truth, found)
    if labels is None:
        labels = present_labels(truth, found)
    result = {}
    for label in labels:
        one, other = truth == label, found == label
        total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
        result[label] = 2 * int(np.count_nonzero(one & other)) / total if total else float("nan")
    return result
