"""The objects of one frame: which there are, where and how large."""

from __future__ import annotations

import numpy as np

__all__ = ["frame_objects"]


def frame_objects(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, centres and areas of a frame's objects.

    Parameters
    ----------
    labels : ndarray of int, shape (y, x)
        0 is background.

    Returns
    -------
    ids : ndarray of int, shape (n,)
        In order.
    centres : ndarray of float, shape (n, 2)
        In pixels.
    areas : ndarray of float, shape (n,)
        In pixels.

    Examples
    --------
    >>> frame_objects(np.array([[0, 7, 7, 7], [2, 0, 0, 0]]))[0].tolist()
    [2, 7]
    """
    inside = np.flatnonzero(labels)
    of = labels.ravel()[inside]
    areas = np.bincount(of)
    ids = np.flatnonzero(areas)
    where = np.unravel_index(inside, labels.shape)
    sums = [np.bincount(of, axis, minlength=len(areas))[ids] for axis in where]
    return ids, np.stack(sums, axis=1) / areas[ids][:, None], areas[ids].astype(float)
