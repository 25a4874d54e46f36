"""Scores of all frames of an image, kept on its own grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from deepbio.image import Image
from deepbio.tasks.frames import Frame
from deepbio.tasks.placed import Placed
from deepbio.tasks.storage import allocate

__all__ = ["KeptScores"]


class KeptScores:
    """An array in the axes of an image, with C for the scores; made when the first ones come.

    Parameters
    ----------
    image : Image
        Whose frames are scored.
    channels : sequence of str
        Names of the scores; left out where there are more or fewer scores.
    """

    def __init__(self, image: Image, channels: Sequence[str] = ()) -> None:
        self._image, self._channels = image, tuple(channels)
        self._at = 1 if "T" in image.axes else 0
        self._axes = image.axes.replace("C", "")
        self._array: np.ndarray | None = None

    def keep(
        self, frame: Frame, placed: Placed, bands: Iterable[tuple[int, int, np.ndarray]]
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Write a frame's bands, of shape (K, rows, ...) on the image's own grid, and pass them on."""
        for start, stop, part in bands:
            placed.inside(self._place(frame, len(part)))[:, start:stop] = part
            yield start, stop, part

    def _place(self, frame: Frame, count: int) -> np.ndarray:
        """Where the scores of a frame are, shape (K, [z,] y, x); a view."""
        if self._array is None:
            shape = [self._image.size(axis) for axis in self._axes]
            self._array = allocate((*shape[: self._at], count, *shape[self._at :]), np.float32)
        key: list[Any] = [frame.t] if frame.t is not None else []
        key += [slice(None)] + ([frame.z] if frame.z is not None else [])
        view: np.ndarray = self._array[tuple(key)]
        return view

    def image(self) -> Image | None:
        """The scores as an image; None where none were kept."""
        if self._array is None:
            return None
        axes = self._axes[: self._at] + "C" + self._axes[self._at :]
        named = len(self._channels) == self._array.shape[self._at]
        channels = self._channels if named else ()
        return Image(self._array, axes, self._image.grid, channels, self._image.frame_interval)
