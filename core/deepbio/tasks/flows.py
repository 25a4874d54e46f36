"""Objects from flows, as Cellpose finds them.

A network gives for each pixel the direction to the middle of its object. Each foreground pixel follows these
directions; where many end, an object is, and it has the pixels that ended there. What does not look like an object is
dropped: the flows that its shape would have, by the diffusion of heat from its middle, are compared with the network's.

Method: Stringer et al., Nature Methods 18:100 (2021, doi:10.1038/s41592-020-01018-x). Numbers that the text leaves open
are those of Cellpose 3.1: steps, the histogram's neighbourhoods, the order in which objects lie over each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

__all__ = [
    "FLOW_UNIT",
    "Landing",
    "fill_holes",
    "flow_errors",
    "follow",
    "follow_flows",
    "gather_ends",
    "in_order",
    "split_flows",
]

FLOW_UNIT = 5.0
"""What the network gives for a flow of one pixel."""

_CHUNK = 2**14  # pixels that are followed together: what they need stays in the cache
_LOOK, _LOOK_EVERY = 40, 20  # steps after which, and then how often, pixels at rest are left out
_RIM = 20  # of the histogram beyond the image
_PEAK, _GATHER, _GROWN = 10, 2, 5  # ends at a peak, and beside it, are more than these; steps from it
_DIFFUSED = 2**16  # pixels of objects whose heat is computed together
_ROUND = 8  # sizes of boxes are rounded up to multiples of this, so that many are alike


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


def flow_errors(labels: np.ndarray, flows: np.ndarray, count: int) -> np.ndarray:
    """Mean squared difference between flows and those that the shapes of objects have.

    The latter lead to where it is warmer after heat went out from the middle, for twice as many steps as the box with
    a rim of one pixel is high and wide. So Cellpose has it on the CPU; on GPUs it takes the steps of the largest
    object for all.

    Parameters
    ----------
    labels : ndarray of int32, shape (y, x)
        Objects 1 to `count`, some of which may be missing.
    flows : ndarray of float32, shape (2, y, x)
        As of :func:`split_flows`.
    count : int
        The largest label that there may be.

    Returns
    -------
    ndarray of float64, shape (count,)
        0 for what is missing.
    """
    errors = np.zeros(count)
    boxes = [(k, box) for k, box in enumerate(ndimage.find_objects(labels), 1) if box is not None]
    for group in _alike(boxes):
        masks = np.zeros((len(group), *group[0][2]), bool)
        given = np.zeros((2, *masks.shape), np.float32)
        for n, (label, box, _) in enumerate(group):
            part = labels[box] == label
            inside = (slice(1, part.shape[0] + 1), slice(1, part.shape[1] + 1))
            masks[n][inside] = part
            given[:, n][:, *inside] = flows[:, *box]
        sizes = np.array([sum(side.stop - side.start + 2 for side in box) for _, box, _ in group])
        own = _flows_of(_warmed(masks, _middles(masks), 2 * sizes))
        squares = ((own - given[:, :, 1:-1, 1:-1] / FLOW_UNIT) ** 2).sum(axis=0)
        inner = masks[:, 1:-1, 1:-1]
        errors[[label - 1 for label, _, _ in group]] = (squares * inner).sum(axis=(1, 2)) / inner.sum(
            axis=(1, 2)
        )
    return errors


def _flows_of(warm: np.ndarray) -> np.ndarray:
    """Unit vectors along y and x towards where it is warmer, shape (2, n, y - 2, x - 2)."""
    towards = np.stack([warm[:, 2:, 1:-1] - warm[:, :-2, 1:-1], warm[:, 1:-1, 2:] - warm[:, 1:-1, :-2]])
    return np.asarray(towards / (1e-60 + np.sqrt((towards**2).sum(axis=0))))


Boxed = tuple[int, tuple[slice, ...], tuple[int, int]]
"""A label, its box, and the size of the array that holds it with a rim."""


def _alike(boxes: Sequence[tuple[int, tuple[slice, ...]]]) -> Iterator[list[Boxed]]:
    """Objects whose boxes are of the same rounded size, not too many at once."""
    sizes: dict[tuple[int, int], list[Boxed]] = {}
    for label, box in boxes:
        height, width = (-(-(side.stop - side.start + 2) // _ROUND) * _ROUND for side in box)
        sizes.setdefault((height, width), []).append((label, box, (height, width)))
    for size, group in sizes.items():
        many = max(1, _DIFFUSED // math.prod(size))
        for first in range(0, len(group), many):
            yield group[first : first + many]


def _middles(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixel of each mask that is nearest to its mean."""
    found = np.zeros((2, len(masks)), np.int64)
    for n, mask in enumerate(masks):
        ys, xs = np.nonzero(mask)
        nearest = ((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2).argmin()
        found[:, n] = ys[nearest], xs[nearest]
    return found[0], found[1]


def _warmed(masks: np.ndarray, middles: tuple[np.ndarray, np.ndarray], steps: np.ndarray) -> np.ndarray:
    """Heat after means over 3 x 3 pixels, each with one more unit in the middle; none leaves the mask.

    Each mask has a number of steps of its own.
    """
    order = np.argsort(steps, kind="stable")
    share, middle_y, middle_x = masks[order] / 9.0, middles[0][order], middles[1][order]
    warm = np.zeros(masks.shape)
    rows, both = np.zeros_like(warm), np.zeros_like(warm)
    # masks before number `done` have had their steps
    for done, (step, following) in enumerate(itertools.pairwise([0, *steps[order]])):
        live, out, total = warm[done:], rows[done:], both[done:]
        each = np.arange(len(live))
        for _ in range(following - step):
            live[each, middle_y[done:], middle_x[done:]] += 1
            np.add(live[:, :-2], live[:, 2:], out=out[:, 1:-1])
            out[:, 1:-1] += live[:, 1:-1]
            np.add(out[:, :, :-2], out[:, :, 2:], out=total[:, :, 1:-1])
            total[:, :, 1:-1] += out[:, :, 1:-1]
            np.multiply(total, share[done:], out=live)
    found = np.empty_like(warm)
    found[order] = warm
    return found


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
