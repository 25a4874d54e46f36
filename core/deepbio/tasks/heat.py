"""Maps of probabilities from overlapping tiles of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepbio.image import Grid, Image

__all__ = ["heat_map", "mean_map"]


def mean_map(
    probabilities: np.ndarray,
    counts: Sequence[int],
    shape: Sequence[int],
    edge: Sequence[int],
    step: Sequence[int],
) -> np.ndarray:
    """The mean over the tiles that cover each step of the image.

    Parameters
    ----------
    probabilities : ndarray of float, shape (tiles, K)
        Of tiles that start at multiples of `step`, in the order of their places.
    counts : sequence of int
        Tiles along each axis.
    shape : sequence of int
        Of the image.
    edge, step : sequence of int
        Size of a tile, a multiple of the step, and pixels from one to the next.

    Returns
    -------
    ndarray of float, shape (K, *steps)

    Examples
    --------
    >>> mean_map(np.array([[0.0], [1.0]]), [2], [6], [4], [2])[0].tolist()
    [0.0, 0.5, 1.0]
    """
    cells = [-(-n // s) for n, s in zip(shape, step, strict=True)]
    parts = [e // s for e, s in zip(edge, step, strict=True)]
    room = [c + p - 1 for c, p in zip(counts, parts, strict=True)]
    tiles = probabilities.T.reshape(-1, *counts)
    total, covered = np.zeros((len(tiles), *room)), np.zeros(room)
    for shift in np.ndindex(*parts):
        key = tuple(slice(a, a + n) for a, n in zip(shift, counts, strict=True))
        total[(slice(None), *key)] += tiles
        covered[key] += 1
    mean = total / covered
    return mean[(slice(None), *(slice(0, n) for n in cells))]


def heat_map(image: Image, maps: Sequence[np.ndarray], grid: Grid, names: Sequence[str]) -> Image:
    """The maps of all frames (and slices) as one image that lies on the input.

    Parameters
    ----------
    image : Image
        What the maps are of.
    maps : sequence of ndarray, shape (K, [z,] y, x)
        Of each frame in turn; of a stack that was taken slice by slice, of each slice.
    grid : Grid
        Where the pixels of a map lie; of slices, those of the stack.
    names : sequence of str
        Of the K channels.
    """
    pixels = np.stack(maps).astype(np.float32)
    sliced = "Z" in image.axes and maps[0].ndim == 3
    if sliced:
        pixels = pixels.reshape(image.size("T"), -1, *pixels.shape[1:]).swapaxes(1, 2)
    if "T" not in image.axes:
        pixels = pixels[0]
    axes = ("T" if "T" in image.axes else "") + "C" + ("Z" if "Z" in image.axes else "") + "YX"
    return Image(pixels, axes, grid, tuple(names), image.frame_interval)
