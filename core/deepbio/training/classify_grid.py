"""The grid that a classifier learns on, where its training images have pixels of one size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepbio.engine.geometry import GridSpec, place
from deepbio.engine.placement import METRES
from deepbio.image import Grid
from deepbio.training.facts import nearest_orientation

__all__ = ["common_grid", "fitting_grid", "sizes_on"]

_SAME = 0.01  # part by which the spacings of images may differ that count as one
_BEYOND = 1.5  # median sizes, above which the largest images are cut rather than all others padded


def common_grid(grids: Sequence[Grid]) -> GridSpec:
    """The spacing that all images have, and for volumes of patients the orientation of the first.

    Parameters
    ----------
    grids : sequence of Grid
        Of the training images.

    Returns
    -------
    GridSpec
        Empty where an image has no spacing, or theirs differ by more than 1 %.

    Examples
    --------
    >>> grids = [Grid((5, 7), (0.8, 0.5), unit="micrometer"), Grid((9, 7), (0.0008, 0.0005), unit="millimeter")]
    >>> common_grid(grids).spacing, common_grid([*grids, Grid((5, 7))]).spacing
    ((0.8, 0.5), ())
    """
    first = grids[0]
    if any(grid.unit == "pixel" or grid.ndim != first.ndim for grid in grids):
        return GridSpec()
    patient = first.ndim == 3 and first.unit == "millimeter"
    turned = GridSpec(orientation=nearest_orientation(first) if patient else "")
    spacings = np.array(
        [
            np.array(place(grid, turned).grid.spacing) * METRES[grid.unit] / METRES[first.unit]
            for grid in grids
        ]
    )
    spacing = np.median(spacings, axis=0)
    if (np.abs(spacings / spacing - 1) > _SAME).any():
        return GridSpec()
    return GridSpec(tuple(float(f"{s:.6g}") for s in spacing), first.unit, turned.orientation)


def sizes_on(grids: Sequence[Grid], spec: GridSpec) -> np.ndarray:
    """Sizes of images along the axes of a grid: int, shape (images, axes)."""
    return np.array([place(grid, spec).grid.shape for grid in grids])


def fitting_grid(
    sizes: np.ndarray, spec: GridSpec, limit: int | None, largest: int
) -> tuple[tuple[int, ...], GridSpec]:
    """The network's input, and the grid on which it holds the images.

    Parameters
    ----------
    sizes : ndarray of int, shape (images, axes)
        From :func:`sizes_on`.
    spec : GridSpec
        From :func:`common_grid`.
    limit : int or None
        Longest edge that is asked for in the plane of y and x.
    largest : int
        Longest edge that there may be.

    Returns
    -------
    size : tuple of int
        Holds the largest image, unless that is 1.5 times as large as the median one: what is beyond is cut.
    spec : GridSpec
        With a coarser (or, by `limit`, finer) spacing where that size asks for it.

    Examples
    --------
    >>> spec = GridSpec((0.5, 0.25), "micrometer")
    >>> size, coarser = fitting_grid(np.array([[100, 300], [90, 448]]), spec, None, 224)
    >>> size, coarser.spacing, coarser.unit
    ((50, 224), (1.0, 0.5), 'micrometer')
    """
    extent = np.minimum(sizes.max(0), np.ceil(_BEYOND * np.median(sizes, axis=0))).astype(int)
    edge = int(extent[-2:].max())
    factor = limit / edge if limit is not None else min(1.0, largest / edge)
    factors = np.full(len(extent), factor)
    if len(extent) == 3:
        factors[0] = min(1.0, (limit or largest) / extent[0])
    size = tuple(
        max(8 if k >= len(extent) - 2 else 1, int(n)) for k, n in enumerate(np.round(extent * factors))
    )
    spacing = tuple(
        float(f"{s / f:.6g}") for s, f in zip(spec.spacing, factors, strict=True) if s is not None
    )
    return size, GridSpec(spacing, spec.unit, spec.orientation)
