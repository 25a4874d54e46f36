"""How well the flows of a network fit the shapes of the objects that were found by them.

Method: Stringer et al., Nature Methods 18:100 (2021, doi:10.1038/s41592-020-01018-x): heat that goes out from the
middle of a shape leads back to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

__all__ = ["FLOW_UNIT", "flow_errors"]

FLOW_UNIT = 5.0
"""What the network gives for a flow of one pixel."""

_DIFFUSED = 2**16  # pixels of objects whose heat is computed together
_ROUND = 8  # sizes of boxes are rounded up to multiples of this, so that many are alike


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
