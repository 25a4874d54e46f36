"""Objects of a stack from flows along z, y and x, as Cellpose finds them.

As in 2D (:mod:`deepbio.tasks.flows`), but for two things that Cellpose does otherwise in 3D: places are counted from -1
to 1 along each axis, between the middles of the first and the last voxel, where interpolation counts from edge to edge,
and beyond the edge flows are 0 (``grid_sample`` of torch without aligned corners); so they depend on the size of the
stack, which is worked on whole. And the flows of an object's shape are not looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from deepbio.tasks.flow_errors import FLOW_UNIT
from deepbio.tasks.flows import fill_holes, follow, gather_ends, in_order

__all__ = ["follow_flows_3d", "split_flows_3d"]


def split_flows_3d(
    flows: np.ndarray, foreground: np.ndarray, *, steps: int, min_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a window.

    Parameters
    ----------
    flows : ndarray of float32, shape (3, z, y, x)
        In units of 1 / `FLOW_UNIT` voxels.
    foreground : ndarray of bool, shape (z, y, x)
        Voxels that belong to objects.
    steps : int
        How often a voxel moves on.
    min_size : int
        Smaller objects do not fill their holes.

    Returns
    -------
    labels : ndarray of int32, shape (z, y, x)
        Objects, in the order of their anchors.
    anchors : ndarray of int64, shape (k,)
        Flat index of each object's peak.
    """
    labels = np.zeros(foreground.shape, np.int32)
    places = np.nonzero(foreground)
    if not len(places[0]):
        return labels, np.zeros(0, np.int64)
    landing = gather_ends(follow_flows_3d(flows, foreground, places, steps), foreground.shape)
    labels[places] = landing.labels
    fill_holes(labels, min_size)
    return in_order(labels, landing)


def follow_flows_3d(
    flows: np.ndarray, foreground: np.ndarray, places: tuple[np.ndarray, ...], steps: int
) -> np.ndarray:
    """Move voxels along the flows.

    Parameters
    ----------
    flows, foreground, steps
        As of :func:`split_flows_3d`.
    places : tuple of ndarray
        Voxels (z, y, x) to follow.

    Returns
    -------
    ndarray of int64, shape (3, n)
        Voxel that each ends in.
    """
    shape = foreground.shape
    last = np.maximum(np.array(shape, np.float32) - 1, 1)
    padded = np.zeros((3, *(n + 2 for n in shape)), np.float32)
    inner = padded[:, 1:-1, 1:-1, 1:-1]
    np.divide(np.where(foreground, flows, 0), FLOW_UNIT, out=inner)
    inner *= (2 / last).reshape(3, 1, 1, 1)
    tables = padded.reshape(3, -1)
    strides = ((shape[1] + 2) * (shape[2] + 2), shape[2] + 2, 1)

    def move(here: np.ndarray) -> np.ndarray:
        return _moved(here, tables, strides, shape)

    def begin(part: slice) -> np.ndarray:
        start = np.stack([axis[part] for axis in places]).astype(np.float32)
        start /= last[:, None]
        start *= 2
        start -= 1
        return start

    def end(there: np.ndarray) -> np.ndarray:
        return ((there + np.float32(1)) * np.float32(0.5) * last[:, None]).astype(np.int64)

    return follow(len(places[0]), begin, move, end, steps)


def _moved(
    places: np.ndarray, tables: np.ndarray, strides: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """Places after one step."""
    sizes = np.array(shape, np.float32)[:, None]
    at = ((places + np.float32(1)) * sizes - np.float32(1)) / np.float32(2)
    whole = np.floor(at)
    part = at - whole
    index = whole.astype(np.intp) + 1
    flat = index[0] * strides[0] + index[1] * strides[1] + index[2]
    moved = np.zeros_like(places)
    for corner in itertools.product((0, 1), repeat=3):
        z, y, x = (share if beyond else 1 - share for beyond, share in zip(corner, part, strict=True))
        weight = x * y * z
        there = flat + sum(beyond * stride for beyond, stride in zip(corner, strides, strict=True))
        for axis, table in enumerate(tables):
            value = table.take(there)
            value *= weight
            moved[axis] += value
    moved += places
    return np.clip(moved, -1, 1, out=moved)
