"""Interpolation along one axis at a time, with local kernels, in float32.

Two grids cover the same extent: with `size` pixels on `count` places, place ``i`` lies at pixel
``(i + 0.5) * size / count - 0.5``. Kernels: linear, and the cubic of Keys (1981, a = -0.5,
doi:10.1109/TASSP.1981.1163711). Where the new grid is coarser, the kernel is widened by the ratio, so
that nothing is skipped; the weights are then corrected so that constants and straight lines stay
exact. Beyond the edge the last pixel goes on.

For networks that learned from what other programs interpolate there are also kernels that are never
widened: the nearest pixel, and the cubic spline through all pixels (Unser, 1999, doi:10.1109/79.799930), whose
cardinal kernel is cut off where it is below 1e-7. With a `line` of such programs the grids need not cover the
same extent: place ``i`` lies at pixel ``first + i * step``.

A block of places needs a short span of pixels, so each block is one small matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["AxisMap", "interpolate", "interpolate_axis", "nearest"]

_BLOCK = 64  # places per matrix product: the matrix stays nearly as small as its kernels


class AxisMap:
    """How values on one axis are interpolated on another that covers the same extent.

    Parameters
    ----------
    size : int
        Pixels that there are.
    count : int
        Places that are wanted.
    kernel : {"linear", "cubic", "spline", "nearest"}
        How values between pixels come about.
    widen : bool
        Whether linear and cubic kernels are widened where the new grid is coarser.
    line : (float, float), optional
        Pixel of the first place, and pixels from place to place; by default those of grids with the same extent.

    Examples
    --------
    >>> halves = AxisMap(2, 4)
    >>> halves.span(0, 2), halves.matrix(0, 2).tolist()
    ((0, 2), [[1.0, 0.0], [0.75, 0.25]])
    """

    def __init__(
        self,
        size: int,
        count: int,
        *,
        kernel: str = "linear",
        widen: bool = True,
        line: tuple[float, float] | None = None,
    ) -> None:
        self.size, self.count = size, count
        self.identity = size == count and line in (None, (0.0, 1.0))
        ratio = size / count
        centre = (np.arange(count) + 0.5) * ratio - 0.5
        if line is not None:
            ratio = line[1]
            centre = np.clip(line[0] + np.arange(count) * ratio, 0, size - 1)
        if kernel == "nearest":
            # halves: up, or along a line to the even pixel, as torch does
            index = (np.floor(centre + 0.5) if line is None else np.rint(centre)).astype(np.int64)[:, None]
            self._weights = np.ones(index.shape)
        else:
            shape, width = _KERNELS[kernel]
            stretch = max(ratio, 1.0) if widen and kernel != "spline" else 1.0
            reach = width * stretch
            first = np.ceil(centre - reach).astype(np.int64)
            index = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
            away = index - centre[:, None]
            hat = _hat(np.abs(away) / reach)
            self._weights = _exact_for_lines(shape(np.abs(away) / stretch), hat, away)
        self._index = np.clip(index, 0, size - 1)
        self._matrices: dict[tuple[int, int], np.ndarray] = {}  # few: callers ask for the same blocks

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """First pixel, and one past the last, that the places from `start` up to `stop` need."""
        if self.identity:
            return start, stop
        return int(self._index[start, 0]), int(self._index[stop - 1, -1]) + 1

    def matrix(self, start: int, stop: int) -> np.ndarray:
        """Weights of the pixels of ``span(start, stop)``: float32, shape (places, pixels)."""
        if self.identity:
            return np.eye(stop - start, dtype=np.float32)
        if (start, stop) not in self._matrices:
            low, high = self.span(start, stop)
            dense = np.zeros((stop - start, high - low))
            rows = np.repeat(np.arange(stop - start), self._index.shape[1])
            weights = self._weights[start:stop].ravel()
            np.add.at(dense, (rows, self._index[start:stop].ravel() - low), weights)
            self._matrices[start, stop] = dense.astype(np.float32)
        return self._matrices[start, stop]


def _hat(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - distance, 0)


def _keys(distance: np.ndarray) -> np.ndarray:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _spline(distance: np.ndarray) -> np.ndarray:
    """The cardinal cubic spline: 1 at its own pixel, 0 at all others."""
    pole = math.sqrt(3) - 2
    steps = np.arange(-_SPLINE_REACH - 2, _SPLINE_REACH + 3)
    total = np.zeros_like(distance)
    for step in steps:
        total += math.sqrt(3) * pole ** abs(int(step)) * _basis(np.abs(distance - step))
    return total


def _basis(distance: np.ndarray) -> np.ndarray:
    """The cubic B-spline."""
    near = 2 / 3 - distance**2 + distance**3 / 2
    return np.where(distance < 1, near, np.maximum(2 - distance, 0) ** 3 / 6)


_SPLINE_REACH = 12  # 0.268 ** 12 is 1.4e-7
_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "linear": (_hat, 1.0),
    "cubic": (_keys, 2.0),
    "spline": (_spline, float(_SPLINE_REACH)),
}


def _exact_for_lines(weights: np.ndarray, window: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Add ``window * (a + b * away)`` so that each row has sum 1 and its centre at 0.

    A kernel that is not widened has both already; a widened one misses them by a little.
    """
    zeroth, first = weights.sum(1), (weights * away).sum(1)
    scale = 1 / zeroth
    weights, first = weights * scale[:, None], first * scale
    m0, m1, m2 = ((window * away**k).sum(1) for k in range(3))
    determinant = m0 * m2 - m1**2
    # one tap alone has no slope to correct
    safe = np.where(determinant > 1e-12, determinant, 1.0)
    a, b = m1 * first / safe, -m0 * first / safe
    correction = window * (a[:, None] + b[:, None] * away)
    return np.where((determinant > 1e-12)[:, None], weights + correction, weights)


def interpolate_axis(array: np.ndarray, axis: int, mapping: AxisMap, start: int, stop: int) -> np.ndarray:
    """Values at some places of one axis.

    Parameters
    ----------
    array : ndarray of float32
        Along `axis` the pixels of ``mapping.span(start, stop)``.
    axis : int
        Which one.
    mapping : AxisMap
        From pixels to places.
    start, stop : int
        The places that are wanted.

    Returns
    -------
    ndarray of float32
        With ``stop - start`` values along `axis`; `array` itself where nothing changes.
    """
    if mapping.identity:
        return array
    shape = array.shape
    after = int(np.prod(shape[axis + 1 :]))
    before = int(np.prod(shape[:axis]))
    low = mapping.span(start, stop)[0]
    result = np.empty((*shape[:axis], stop - start, *shape[axis + 1 :]), np.float32)
    last = after == 1
    given = array.reshape((before, shape[axis]) if last else (before, shape[axis], after))
    out = result.reshape((before, stop - start) if last else (before, stop - start, after))
    for first in range(start, stop, _BLOCK):
        end = min(first + _BLOCK, stop)
        from_pixel, to_pixel = mapping.span(first, end)
        matrix = mapping.matrix(first, end)
        part = given[:, from_pixel - low : to_pixel - low]
        if last:
            np.matmul(part, matrix.T, out=out[:, first - start : end - start])
        else:
            np.matmul(matrix, part, out=out[:, first - start : end - start])
    return result


def interpolate(
    array: np.ndarray, maps: Sequence[AxisMap], spans: Sequence[tuple[int, int]], *, skip: int | None = None
) -> np.ndarray:
    """Values at a box of places.

    Parameters
    ----------
    array : ndarray of float32, shape (C, ...)
        The pixels that the box needs along each axis: ``maps[k].span(*spans[k])``.
    maps : sequence of AxisMap
        One per spatial axis.
    spans : sequence of (int, int)
        First place and one past the last along each axis.
    skip : int, optional
        A spatial axis that is left as it is.

    Returns
    -------
    ndarray of float32, shape (C, ...)
        Values at the places.
    """
    # what shrinks most first: the others then have less to do
    for axis in sorted(range(len(maps)), key=lambda k: maps[k].count / maps[k].size):
        if axis != skip:
            array = interpolate_axis(array, axis + 1, maps[axis], *spans[axis])
    return array


def nearest(size: int, count: int) -> np.ndarray:
    """Pixel whose extent holds each of `count` places on `size` pixels: int64, shape (count,).

    Examples
    --------
    >>> nearest(2, 5).tolist()
    [0, 0, 1, 1, 1]
    """
    return np.minimum((np.arange(count) * 2 + 1) * size // (2 * count), size - 1)
