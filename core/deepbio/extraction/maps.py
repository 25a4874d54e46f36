"""Feature maps of all frames as one image, on the grid of their cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepbio.engine.cells import CellPlan
from deepbio.errors import InputMismatch
from deepbio.image import Grid, Image
from deepbio.tasks.frames import Frame
from deepbio.tasks.storage import allocate
from deepbio.tasks.worked import Worked

__all__ = ["MapsOf"]


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

    def add(self, frame: Frame, worked: Worked, cells: np.ndarray, plan: CellPlan) -> None:
        """Keep the maps of one frame.

        Raises
        ------
        InputMismatch
            If the frames' maps are of different sizes (each was cropped to what is in it).
        """
        if self._array is None:
            self._grid = worked.coarser(self._image, plan.cells, plan.stride)
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
        axes = (
            ("T" if "T" in self._image.axes else "") + "C" + ("Z" if "Z" in self._image.axes else "") + "YX"
        )
        channel = self._array.shape[axes.index("C")]
        names = tuple(f"{self._layer} {k}" for k in range(channel))
        return Image(self._array, axes, self._grid, names, self._image.frame_interval)  # type: ignore[arg-type]
