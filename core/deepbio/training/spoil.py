"""Faults in the labels that the second stage of a cascade sees, so that it does not trust them blindly.

Method: as in the cascade of nnU-Net (Isensee et al., Nature Methods 18:203, 2021, doi:10.1038/s41592-020-01008-z):
classes grow, shrink, lose corners or gaps, and small pieces of them are lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

__all__ = ["spoil_labels"]

_CHANGED = 0.4  # of the patches
_LOST = 0.2
_OF_CLASSES = 0.5  # of the classes in such a patch
_RADIUS = 4.0  # pixels, the largest
_SMALL = 0.15  # of the patch: larger pieces are kept


def spoil_labels(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change some classes of a patch as a first stage might be wrong.

    Parameters
    ----------
    labels : ndarray of integers, shape ([z,] y, x)
        A patch; not changed itself.
    rng : numpy.random.Generator
        Source of every draw.

    Returns
    -------
    ndarray
        A copy, with no label that is not in `labels`.

    Examples
    --------
    >>> labels = np.zeros((9, 9), np.int32)
    >>> labels[2:7, 2:7] = 1
    >>> sizes = [int((spoil_labels(labels, np.random.default_rng(seed)) == 1).sum()) for seed in range(40)]
    >>> min(sizes) < 25, 25 in sizes, max(sizes) > 25
    (True, True, True)
    """
    labels = labels.copy()
    classes = [int(label) for label in np.unique(labels) if label > 0]
    if rng.uniform() < _CHANGED:
        for label in classes:
            if rng.uniform() < _OF_CLASSES:
                _change_shape(labels, label, rng)
    if rng.uniform() < _LOST:
        for label in classes:
            if rng.uniform() < _OF_CLASSES:
                _lose_piece(labels, label, rng)
    return labels


def _change_shape(labels: np.ndarray, label: int, rng: np.random.Generator) -> None:
    operation: Callable[[np.ndarray, float], np.ndarray] = _OPERATIONS[rng.integers(len(_OPERATIONS))]
    radius = rng.uniform(1, _RADIUS)
    part = _around(labels, label, math.ceil(radius) + 2)  # so that background is left around what has grown
    before = part == label
    after = operation(before, radius)
    part[before & ~after] = 0
    part[after] = label


def _around(labels: np.ndarray, label: int, margin: int) -> np.ndarray:
    """The part of a patch that holds a class, which costs less than the patch; a view."""
    spans = []
    for axis in range(labels.ndim):
        others = tuple(k for k in range(labels.ndim) if k != axis)
        at = np.flatnonzero((labels == label).any(axis=others))
        spans.append(slice(max(int(at[0]) - margin, 0), int(at[-1]) + 1 + margin) if len(at) else slice(None))
    return labels[tuple(spans)]


def _grown(mask: np.ndarray, radius: float) -> np.ndarray:
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)


def _shrunk(mask: np.ndarray, radius: float) -> np.ndarray:
    if mask.all():
        return mask
    return np.asarray(ndimage.distance_transform_edt(mask) > radius)


def _opened(mask: np.ndarray, radius: float) -> np.ndarray:
    return _grown(_shrunk(mask, radius), radius)


def _closed(mask: np.ndarray, radius: float) -> np.ndarray:
    return _shrunk(_grown(mask, radius), radius)


_OPERATIONS = (_grown, _shrunk, _opened, _closed)


def _lose_piece(labels: np.ndarray, label: int, rng: np.random.Generator) -> None:
    part = _around(labels, label, 0)
    pieces, count = ndimage.label(part == label)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(sizes < _SMALL * labels.size) + 1
    if len(small):
        part[pieces == rng.choice(small)] = 0
