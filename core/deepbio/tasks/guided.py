"""The second stage of a cascade: a network that sees the labels of the first beside the image."""

from __future__ import annotations

import numpy as np

from deepbio.engine.geometry import labels_to_working
from deepbio.tasks.frames import FrameSource
from deepbio.tasks.placed import Placed

__all__ = ["GuidedSource", "guided"]


class GuidedSource:
    """A frame with labels as its last channel: the engine's source.

    Parameters
    ----------
    source : FrameSource
        The normalised frame, C channels.
    labels : ndarray of integers, shape ([z,] y, x)
        On the same grid.
    """

    def __init__(self, source: FrameSource, labels: np.ndarray) -> None:
        self._source, self._labels = source, labels
        self.normalise = source.normalise
        self.shape = (source.shape[0] + 1, *source.shape[1:])

    def read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        """Normalised pixels and labels, float32, shape (C + 1, *(stop - start))."""
        key = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        labels = self._labels[key].astype(np.float32)
        return np.concatenate((self._source.read(start, stop), labels[np.newaxis]))


def guided(source: FrameSource, placed: Placed, labels: np.ndarray) -> GuidedSource:
    """A frame with what the first stage found in it.

    Parameters
    ----------
    source : FrameSource
        The normalised frame.
    placed : Placed
        Where its grid lies.
    labels : ndarray of integers, shape ([z,] y, x)
        On the frame's own grid.
    """
    if placed.placement is not None:
        labels = labels_to_working(labels, placed.placement)
    return GuidedSource(source, labels)
