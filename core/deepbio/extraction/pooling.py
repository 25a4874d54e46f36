"""From feature maps to vectors: of the whole image, or of each object."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from deepbio.image import ArrayLike

__all__ = ["POOLS", "pool_image", "pool_objects", "unit"]

POOLS = ("mean", "max", "std")
_BAND = 2**22  # labels looked at at once


def pool_image(maps: np.ndarray, cover: np.ndarray, pool: str) -> np.ndarray:
    """One vector for all cells.

    Parameters
    ----------
    maps : ndarray, shape (F, *cells)
        Feature maps.
    cover : ndarray, shape cells
        The part of each cell that lies inside the image: the weights of the mean.
    pool : {"mean", "max", "std"}
        How; "std" is the standard deviation over the cells.

    Returns
    -------
    ndarray of float32, shape (F,)

    Examples
    --------
    >>> maps = np.array([[[1.0, 4.0]], [[0.0, 8.0]]], np.float32)
    >>> pool_image(maps, np.array([[1.0, 0.5]]), "mean").tolist()
    [2.0, 2.6666667461395264]
    """
    flat = np.asarray(maps).reshape(len(maps), -1)
    if pool == "max":
        return flat.max(axis=1)
    weights = cover.ravel().astype(np.float64) / cover.sum(dtype=np.float64)
    mean = flat @ weights
    if pool == "std":
        mean = np.sqrt((flat - mean[:, np.newaxis]) ** 2 @ weights)
    return np.asarray(mean, np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; rows of zeros stay.

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def pool_objects(
    maps: np.ndarray, labels: ArrayLike, stride: Sequence[int], pool: str
) -> tuple[np.ndarray, np.ndarray]:
    """One vector for each object: each of its pixels counts with the cell that it lies in.

    Parameters
    ----------
    maps : ndarray, shape (F, *cells)
        Feature maps.
    labels : array-like of int, shape ([z,] y, x)
        Objects; 0 is background. Read in bands.
    stride : sequence of int
        Pixels per cell, per axis.
    pool : {"mean", "max", "std"}
        How; "std" is the standard deviation over the cells.

    Returns
    -------
    ids : ndarray of int, shape (n,)
        The labels, in order.
    vectors : ndarray of float32, shape (n, F)

    Examples
    --------
    >>> labels = np.array([[7, 7, 7, 0], [0, 0, 2, 2]])
    >>> ids, vectors = pool_objects(np.array([[[1.0, 4.0]]]), labels, (2, 2), "mean")
    >>> ids.tolist(), vectors.tolist()
    ([2, 7], [[4.0], [2.0]])
    """
    cells = maps.shape[1:]
    ids, places, counts = _pairs(labels, stride, cells)
    flat = np.asarray(maps).reshape(len(maps), -1).T
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros((0, len(maps)), np.float32)
    objects, row, area = np.unique(ids, return_inverse=True, return_counts=True)
    if pool == "max":
        return objects, np.maximum.reduceat(flat[places], np.cumsum(area) - area, axis=0).astype(np.float32)
    weights = sparse.csr_matrix((counts, (row, places)), (len(objects), len(flat)))
    total = np.asarray(weights.sum(axis=1), np.float64).reshape(-1, 1)
    values = flat.astype(np.float64)
    mean = np.asarray(weights @ values) / total
    if pool == "std":
        centre = values.mean(axis=0)  # against the loss of digits where the mean is large
        squares = np.asarray(weights @ (values - centre) ** 2) / total
        mean = np.sqrt(np.maximum(squares - (mean - centre) ** 2, 0))
    return objects, mean.astype(np.float32)


def _pairs(
    labels: ArrayLike, stride: Sequence[int], cells: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which objects have pixels in which cells, and how many: sorted by object, then cell."""
    count = math.prod(cells)
    rows = max(1, _BAND // math.prod(labels.shape[1:]))
    keys: list[np.ndarray] = []
    sums: list[np.ndarray] = []
    for start in range(0, labels.shape[0], rows):
        band = np.asarray(labels[start : start + rows])
        inside = np.nonzero(band)
        place = np.zeros(len(inside[0]), np.int64)
        for axis, (index, s, n) in enumerate(zip(inside, stride, cells, strict=True)):
            place = place * n + (index + (start if axis == 0 else 0)) // s
        key, number = np.unique(band[inside].astype(np.int64) * count + place, return_counts=True)
        keys.append(key)
        sums.append(number)
    key, where = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.bincount(where, np.concatenate(sums), minlength=len(key))
    return key // count, key % count, total
