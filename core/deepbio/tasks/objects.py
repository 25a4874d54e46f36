"""The objects of one frame: which there are, where and how large."""

from __future__ import annotations

import numpy as np

__all__ = ["frame_objects", "sightings"]


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


def sightings(tracks: np.ndarray) -> np.ndarray:
    """Every object of every frame, ordered by its label and then by its frame.

    Parameters
    ----------
    tracks : ndarray of int, shape (T, y, x)
        Labels that stay with an object; 0 is background.

    Returns
    -------
    ndarray of float, shape (n, 5)
        Label, frame (from 0), y and x of the centre, and area, in pixels.

    Examples
    --------
    >>> sightings(np.array([[[2, 1]], [[0, 2]]]))[:, :2].tolist()
    [[1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]
    """
    rows = []
    for t, labels in enumerate(tracks):
        ids, centres, areas = frame_objects(labels)
        rows.append(np.column_stack((ids, np.full(len(ids), t), centres, areas)))
    table = np.concatenate(rows) if rows else np.zeros((0, 5))
    return table[np.lexsort((table[:, 1], table[:, 0]))]
