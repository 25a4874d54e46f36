"""Objects from flows, as Cellpose finds them.

A network gives for each pixel the direction to the middle of its object. Each foreground pixel follows these
directions; where many end, an object is, and it has the pixels that ended there. What does not look like an object is
dropped: the flows that its shape would have, by the diffusion of heat from its middle, are compared with the network's.

Method: Stringer et al., Nature Methods 18:100 (2021, doi:10.1038/s41592-020-01018-x). Numbers that the text leaves open
are those of Cellpose 3.1: steps, the histogram's neighbourhoods, the order in which objects lie over each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from deepbio.tasks.flow_errors import FLOW_UNIT, flow_errors

__all__ = [
    "Landing",
    "fill_holes",
    "follow",
    "follow_flows",
    "gather_ends",
    "in_order",
    "split_flows",
]

_CHUNK = 2**14  # pixels that are followed together: what they need stays in the cache
_LOOK, _LOOK_EVERY = 40, 20  # steps after which, and then how often, pixels at rest are left out
_RIM = 20  # of the histogram beyond the image
_PEAK, _GATHER, _GROWN = 10, 2, 5  # ends at a peak, and beside it, are more than these; steps from it


@dataclass(frozen=True)
class Landing:
    """Where the pixels of a window ended, gathered into objects.

    Attributes
    ----------
    labels : ndarray of int32, shape (n,)
        Object of each pixel that was followed; 0 for those that ended where few did.
    peaks : ndarray of int64, shape (k, axes)
        Pixel ([z,] y, x) where most of an object's pixels ended; objects in the order of their labels, from those
        with few ends there to those with many.
    """

    labels: np.ndarray
    peaks: np.ndarray


def split_flows(
    flows: np.ndarray, foreground: np.ndarray, *, steps: int, error: float, min_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a window.

    Parameters
    ----------
    flows : ndarray of float32, shape (2, y, x)
        Along y and x, in units of 1 / `FLOW_UNIT` pixels.
    foreground : ndarray of bool, shape (y, x)
        Pixels that belong to objects.
    steps : int
        How often a pixel moves on.
    error : float
        Largest mean squared difference to the flows of its shape that an object may have; 0 does not look.
    min_size : int
        Smaller objects do not fill their holes, which may hold others.

    Returns
    -------
    labels : ndarray of int32, shape (y, x)
        Objects, in the order of their anchors.
    anchors : ndarray of int64, shape (k,)
        Flat index of each object's peak; objects that were dropped have one, too.
    """
    labels = np.zeros(foreground.shape, np.int32)
    places = np.nonzero(foreground)
    if not len(places[0]):
        return labels, np.zeros(0, np.int64)
    ends = follow_flows(flows, foreground, places, steps)
    landing = gather_ends(ends, foreground.shape)
    labels[places] = landing.labels
    count = len(landing.peaks)
    if error > 0 and count:
        wrong = np.concatenate([[False], flow_errors(labels, flows, count) > error])
        labels[wrong[labels]] = 0
    fill_holes(labels, min_size)
    return in_order(labels, landing)


def in_order(labels: np.ndarray, landing: Landing) -> tuple[np.ndarray, np.ndarray]:
    """Labels in the order of their anchors, and these: the flat index of each object's peak."""
    anchors = np.ravel_multi_index(tuple(landing.peaks.T), labels.shape)
    order = np.argsort(anchors)
    lut = np.zeros(len(anchors) + 1, np.int32)
    lut[order + 1] = np.arange(1, len(anchors) + 1)
    return lut[labels], anchors[order]


def follow_flows(
    flows: np.ndarray, foreground: np.ndarray, places: tuple[np.ndarray, ...], steps: int
) -> np.ndarray:
    """Move pixels along the flows, which are 0 outside of the foreground and linear between pixels.

    Parameters
    ----------
    flows : ndarray of float32, shape (2, y, x)
        As of :func:`split_flows`.
    foreground : ndarray of bool, shape (y, x)
    places : tuple of ndarray
        Pixels (y, x) to follow.
    steps : int
        How often each moves on.

    Returns
    -------
    ndarray of int64, shape (2, n)
        Pixel that each ends in.

    Examples
    --------
    >>> flows = np.zeros((2, 3, 8), np.float32)
    >>> flows[1] = np.where(np.arange(8) < 4, 1, -1) * 5
    >>> follow_flows(flows, np.ones((3, 8), bool), (np.array([1]), np.array([0])), 3).ravel().tolist()
    [1, 3]
    """
    height, width = foreground.shape
    moves = np.where(foreground, flows, np.float32(0)) / np.float32(FLOW_UNIT)
    # the last row and column go on, so that each pixel has neighbours behind and below
    tables = np.pad(moves, ((0, 0), (0, 1), (0, 1)), mode="edge").reshape(2, -1)
    last = np.array([height - 1, width - 1], np.float32)

    def begin(part: slice) -> np.ndarray:
        return np.stack([axis[part] for axis in places]).astype(np.float32)

    return follow(
        len(places[0]),
        begin,
        lambda here: _moved(here, tables, width + 1, last),
        lambda there: there.astype(np.int64),
        steps,
    )


def follow(
    count: int,
    begin: Callable[[slice], np.ndarray],
    move: Callable[[np.ndarray], np.ndarray],
    end: Callable[[np.ndarray], np.ndarray],
    steps: int,
) -> np.ndarray:
    """Move many pixels, some at a time; those that swing between two places are not followed to the end.

    Parameters
    ----------
    count : int
        Pixels in all, at least one.
    begin : callable
        Places, shape (axes, n), where a part of them begins.
    move : callable
        Places after one step, of each by itself.
    end : callable
        Pixels that places lie in.
    steps : int
        How often each moves on.

    Returns
    -------
    ndarray of int64, shape (axes, count)
    """
    parts = [slice(first, first + _CHUNK) for first in range(0, count, _CHUNK)]
    return np.concatenate([end(_followed(begin(part), move, steps)) for part in parts], axis=1)


def _followed(start: np.ndarray, move: Callable[[np.ndarray], np.ndarray], steps: int) -> np.ndarray:
    """Places where a few end."""
    ends = np.empty_like(start)
    moving = np.arange(start.shape[1])
    now, before, older = start, start, start
    for step in range(1, steps + 1):
        older, before, now = before, now, move(now)
        if step >= _LOOK and step % _LOOK_EVERY == 0:
            # the same place as two steps ago: it will be in one of these two for ever
            still = (now == older).all(axis=0)
            if still.any():
                ends[:, moving[still]] = (now if (steps - step) % 2 == 0 else before)[:, still]
                left = ~still
                moving, now, before = moving[left], now[:, left], before[:, left]
                if not moving.size:
                    return ends
    ends[:, moving] = now
    return ends


def _moved(places: np.ndarray, tables: np.ndarray, width: int, last: np.ndarray) -> np.ndarray:
    """Places after one step."""
    whole = places.astype(np.intp)
    y, x = (places - whole).astype(np.float32)
    flat = whole[0] * width + whole[1]
    both = y * x
    corners = (
        (flat, 1 - y - x + both),
        (flat + 1, x - both),
        (flat + width, y - both),
        (flat + width + 1, both),
    )
    moved = np.empty_like(places)
    for axis, table in enumerate(tables):
        total = places[axis].copy()
        for corner, weight in corners:
            value = table.take(corner)
            value *= weight
            total += value
        np.clip(total, 0, last[axis], out=moved[axis])
    return moved


def gather_ends(ends: np.ndarray, shape: Sequence[int]) -> Landing:
    """Objects where many pixels ended.

    A peak is the highest place within two pixels, with more than 10 ends; the places within five steps of it that have
    more than 2 belong to it. Where two claim a place, the one with the higher peak has it.

    Parameters
    ----------
    ends : ndarray of int64, shape (axes, n)
        From :func:`follow_flows`.
    shape : sequence of int
        Of the window.
    """
    sizes = tuple(n + 2 * _RIM for n in shape)
    flat = np.ravel_multi_index(tuple(ends + _RIM), sizes)
    heat = np.bincount(flat, minlength=math.prod(sizes)).reshape(sizes)
    top = ndimage.maximum_filter(heat, size=5, mode="constant")
    peaks = np.argwhere((heat == top) & (heat > _PEAK))
    peaks = peaks[np.argsort(heat[tuple(peaks.T)], kind="stable")]
    around = _around(peaks)
    warm = heat[around] > _GATHER
    grown = np.zeros_like(warm)
    grown[:, *(_GROWN,) * len(sizes)] = True
    for _ in range(_GROWN):
        grown = _dilated(grown) & warm
    owner = np.zeros(sizes, np.int32)
    which = np.nonzero(grown)[0]
    # of several that claim a place the last one has it, with the highest peak
    owner[tuple(np.broadcast_to(axis, grown.shape)[grown] for axis in around)] = which + 1
    return Landing(owner.ravel()[flat], peaks - _RIM)


def _around(peaks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of what lies within some steps of each peak; together of shape (n, 11, 11[, 11])."""
    reach = np.arange(-_GROWN, _GROWN + 1)
    axes = peaks.shape[1]
    found = []
    for axis in range(axes):
        shape = [len(peaks)] + [len(reach) if k == axis else 1 for k in range(axes)]
        found.append((peaks[:, axis, None] + reach).reshape(shape))
    return tuple(found)


def _dilated(masks: np.ndarray) -> np.ndarray:
    """Each of many masks (n, [z,] y, x), one pixel wider."""
    for axis in range(1, masks.ndim):
        wide = np.moveaxis(masks.copy(), axis, 0)
        flat = np.moveaxis(masks, axis, 0)
        wide[1:] |= flat[:-1]
        wide[:-1] |= flat[1:]
        masks = np.moveaxis(wide, 0, axis)
    return masks


def fill_holes(labels: np.ndarray, min_size: int) -> None:
    """Fill the holes of objects, with what lies in them; in place.

    Parameters
    ----------
    labels : ndarray of int32, shape ([z,] y, x)
    min_size : int
        Objects with fewer pixels are dropped first.

    Examples
    --------
    >>> ring = np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1]], np.int32)
    >>> fill_holes(ring, 2)
    >>> ring.tolist()
    [[1, 1, 1], [1, 1, 1], [1, 1, 1]]
    """
    small = np.bincount(labels.ravel()) < min_size
    small[0] = False
    labels[small[labels]] = 0
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None and min(side.stop - side.start for side in box) > 2:
            part = labels[box]
            part[ndimage.binary_fill_holes(part == label)] = label
