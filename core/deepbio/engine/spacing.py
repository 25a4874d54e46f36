"""The grid that MONAI's Spacingd makes, and how its pixels lie on it.

The spacing is exactly what is wanted. On images that lie along the axes of the world both grids begin at the same
pixel centre; on oblique ones (in MONAI by the rounding of their direction, which files always have) the halves of
both numbers of pixels lie on each other. So the extent is not the same, as it is for networks of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepbio.engine.resample import AxisMap
from deepbio.image import Grid

__all__ = ["Line", "counts_and_steps", "inverse", "lines_of", "maps_along"]

Line = tuple[float, float]
"""Pixel of the first place, and pixels from place to place."""

_CLOSE = 1e-3  # in the unit of the spacing: taken as the same
_ALIGNED = 1e-9


def counts_and_steps(
    sizes: Sequence[int], own: Sequence[float], wanted: Sequence[float]
) -> tuple[list[int], list[float]]:
    """Places along each axis, and pixels from one to the next.

    Examples
    --------
    >>> counts_and_steps((20, 7), (1.0, 1.5), (2.0, 1.5004))
    ([10, 7], [2.0, 1.0])
    """
    steps = [1.0 if abs(s - t) <= _CLOSE else t / s for s, t in zip(own, wanted, strict=True)]
    return [round((n - 1) / step + 1) for n, step in zip(sizes, steps, strict=True)], steps


def lines_of(grid: Grid, sizes: Sequence[int], counts: Sequence[int], steps: Sequence[float]) -> list[Line]:
    """Where the places lie along each axis.

    Examples
    --------
    >>> lines_of(Grid((20,) * 2), (20, 20), (10, 13), (2.0, 1.5))
    [(0.0, 2.0), (0.0, 1.5)]
    """
    strongest = np.abs(grid.direction).max(axis=0)
    if np.all(np.abs(grid.direction).sum(axis=0) - strongest <= _ALIGNED):
        return [(0.0, step) for step in steps]
    each = zip(sizes, counts, steps, strict=True)
    return [(n / 2 - step * count / 2, step) for n, count, step in each]


def inverse(line: Line) -> Line:
    """Place of the first pixel, and places from pixel to pixel.

    Examples
    --------
    >>> inverse((1.0, 2.0))
    (-0.5, 0.5)
    """
    first, step = line
    return (-first / step if first else 0.0, 1 / step)


def maps_along(
    sizes: Sequence[int], counts: Sequence[int], along: Sequence[Line], kernel: str
) -> tuple[AxisMap, ...]:
    """Maps with a kernel that is never widened."""
    each = zip(sizes, counts, along, strict=True)
    return tuple(AxisMap(size, count, kernel=kernel, widen=False, line=line) for size, count, line in each)
