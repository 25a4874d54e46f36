"""Feature maps of all frames as one image, on the grid of their cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepbio.engine.cells import CellPlan
from deepbio.errors import InputMismatch
from deepbio.image import Grid, Image
from deepbio.tasks.frames import Frame
from deepbio.tasks.placed import Placed
from deepbio.tasks.storage import allocate

__all__ = ["MapsOf", "cell_grid"]


def cell_grid(image: Image, placed: Placed, plan: CellPlan) -> Grid:
    """Where the cells of a frame lie in the world of its image; with slices, of the whole stack.

    Examples
    --------
    >>> image = Image(np.zeros((12, 9)), grid=Grid((12, 9), (0.5, 2.0), unit="micrometer"))
    >>> plan = CellPlan((12, 9), (16, 16), (4, 4), ((0,), (0,)), ((0, 3), (0, 3)))
    >>> grid = cell_grid(image, Placed(image.array), plan)
    >>> grid.shape, grid.spacing, grid.origin
    ((3, 3), (2.0, 8.0), (3.0, 0.75))
    """
    placement = placed.placement
    if placement is not None and placement.grid.ndim == image.grid.ndim:
        return _coarser(placement.grid, plan)
    if placement is None and image.grid.ndim == len(plan.shape):
        return _coarser(image.grid, plan)
    # slices of a stack: their own axes, beside the stack's first one
    own = image.grid
    ratios, corner = [1.0] * len(plan.shape), [0] * len(plan.shape)
    if placement is not None:
        ratios = [n / m for n, m in zip(placement.box_shape, placement.grid.shape, strict=True)]
        corner = [start for start, _ in placement.box]
    pixels = [s * ratio for s, ratio in zip(plan.stride, ratios, strict=True)]
    first = [at + step / 2 - 0.5 for at, step in zip(corner, pixels, strict=True)]
    spacing = [s * step for s, step in zip(own.spacing[1:], pixels, strict=True)]
    return Grid(
        (own.shape[0], *plan.cells),
        (own.spacing[0], *spacing),
        tuple(own.to_world((0, *first))),
        own.direction,
        own.unit,
    )


def _coarser(grid: Grid, plan: CellPlan) -> Grid:
    first = [s / 2 - 0.5 for s in plan.stride]
    spacing = tuple(s * step for s, step in zip(grid.spacing, plan.stride, strict=True))
    return Grid(plan.cells, spacing, tuple(grid.to_world(first)), grid.direction, grid.unit)


class MapsOf:
    """Gathers the maps of the frames of an image.

    Parameters
    ----------
    image : Image
        What they are of.
    layer : str
        Name of the layer, for the names of the channels.
    """

    def __init__(self, image: Image, layer: str) -> None:
        self._image, self._layer = image, layer
        self._array: Any = None
        self._grid: Grid | None = None

    def add(self, frame: Frame, placed: Placed, cells: np.ndarray, plan: CellPlan) -> None:
        """Keep the maps of one frame.

        Raises
        ------
        InputMismatch
            If the frames' maps are of different sizes (each was cropped to what is in it).
        """
        if self._array is None:
            self._grid = cell_grid(self._image, placed, plan)
            sliced = (self._image.size("Z"),) if frame.z is not None else ()
            timed = (self._image.size("T"),) if "T" in self._image.axes else ()
            self._array = allocate((*timed, len(cells), *sliced, *cells.shape[1:]), np.float32)
        key: list[Any] = [frame.t] if frame.t is not None else []
        key += [slice(None)] + ([frame.z] if frame.z is not None else [])
        if self._array[tuple(key)].shape != cells.shape:
            raise InputMismatch(
                "The frames are cropped to different sizes: their feature maps do not fit together.",
                "Ask for vectors, or for one frame at a time.",
            )
        self._array[tuple(key)] = cells

    def image(self) -> Image:
        """The maps of all frames."""
        axes = ("T" if "T" in self._image.axes else "") + "C" + ("Z" if "Z" in self._image.axes else "") + "YX"
        channel = self._array.shape[axes.index("C")]
        names = tuple(f"{self._layer} {k}" for k in range(channel))
        return Image(self._array, axes, self._grid, names, self._image.frame_interval)  # type: ignore[arg-type]
