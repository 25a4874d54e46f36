"""Whether the labels of objects lie on the image that they are said to be of."""

from __future__ import annotations

import numpy as np

from deepbio.errors import InputMismatch
from deepbio.image import Grid, Image, LabelMap

__all__ = ["check_objects"]

_SAME_SPACING = 1e-3  # of it
_SAME_PLACE = 0.1  # of the smallest spacing: files round


def check_objects(image: Image, objects: LabelMap) -> None:
    """See that labels lie on the pixels of an image.

    Of a label image without spacing only the number of pixels is compared. One that has a spacing and no
    place of its own (as TIFF files say none) is compared by its spacing.

    Raises
    ------
    InputMismatch
        If they do not.
    """
    hint = "Give labels of this very image."
    wanted = {axis: image.size(axis) for axis in image.axes if axis != "C"}
    found = dict(zip(objects.axes, objects.shape, strict=True))
    if wanted != found:
        told = [" x ".join(f"{axis}={n}" for axis, n in one.items()) for one in (found, wanted)]
        raise InputMismatch(f"The objects have {told[0]}; the image has {told[1]}.", hint)
    if "pixel" in (image.grid.unit, objects.grid.unit):
        return
    grid, own = image.grid, _in_unit(objects.grid, image.grid.unit)
    if not np.allclose(own.spacing, grid.spacing, rtol=_SAME_SPACING):
        told = [" x ".join(f"{s:g}" for s in one.spacing) + f" {one.unit}" for one in (objects.grid, grid)]
        raise InputMismatch(f"The objects have pixels of {told[0]}; the image has {told[1]}.", hint)
    if _is_placed(own) and _is_placed(grid):
        corners = np.array(list(np.ndindex(*(2,) * grid.ndim))) * (np.array(grid.shape) - 1)
        away = np.linalg.norm(own.to_world(corners) - grid.to_world(corners), axis=1).max()
        if away > _SAME_PLACE * min(grid.spacing):
            raise InputMismatch(
                f"The objects lie {away:.3g} {grid.unit} away from the image (the largest distance of a corner).",
                hint,
            )


def _in_unit(grid: Grid, unit: str) -> Grid:
    """A grid in another unit of length."""
    factor = {"millimeter": 1000.0, "micrometer": 1.0}
    ratio = factor[grid.unit] / factor[unit]
    spacing, origin = (tuple(n * ratio for n in one) for one in (grid.spacing, grid.origin))
    return grid.replace(spacing=spacing, origin=origin, unit=unit)


def _is_placed(grid: Grid) -> bool:
    """Whether a grid says where it lies."""
    return any(grid.origin) or not np.array_equal(grid.direction, np.eye(grid.ndim)[:, ::-1])
