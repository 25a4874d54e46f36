"""Images, and parts of them, in the one size that a classifier takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from deepbio.engine.resample import AxisMap, interpolate
from deepbio.image import ArrayLike

__all__ = ["cut_box", "fit_size", "middle", "middle_spans"]


def fit_size(pixels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resample an image to a size, as a classifier sees it.

    Height and width keep their ratio: the image is made as large as fits, and where one of them is
    then short, the border goes on at both sides. Depth is resampled by itself, since stacks of one
    region have any number of slices. Where it shrinks, pixels are averaged.

    Parameters
    ----------
    pixels : ndarray, shape (C, [z,] y, x)
        Any type.
    size : sequence of int
        Wanted size without channels.

    Returns
    -------
    ndarray of float32, shape (C, *size)

    Examples
    --------
    >>> wide = np.array([[[0, 0, 9, 9]]], np.uint8)
    >>> fit_size(wide, (3, 4)).tolist()
    [[[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 9.0]]]
    """
    size = tuple(size)
    image = np.ascontiguousarray(pixels, np.float32)
    if image.shape[1:] == size:
        return image
    scale = min(wanted / n for wanted, n in zip(size[-2:], image.shape[-2:], strict=True))
    inner = [max(1, min(w, round(n * scale))) for w, n in zip(size[-2:], image.shape[-2:], strict=True)]
    target = (*size[:-2], *inner)
    maps = [_axis_map(n, count) for n, count in zip(image.shape[1:], target, strict=True)]
    image = interpolate(image, maps, [(0, count) for count in target])
    short = [((w - n) // 2, w - n - (w - n) // 2) for w, n in zip(size, target, strict=True)]
    return np.pad(image, [(0, 0), *short], mode="edge")


def middle(view: ArrayLike, size: Sequence[int]) -> np.ndarray:
    """Cut an image, whose pixels have the size that a classifier knows, to its middle.

    Where the image is shorter than the box it lies in the middle of it, and its border goes on.

    Parameters
    ----------
    view : array-like, shape (C, [z,] y, x)
        Sliced, never read whole.
    size : sequence of int
        Of the box.

    Returns
    -------
    ndarray, shape (C, *size)

    Examples
    --------
    >>> middle(np.arange(7).reshape(1, 1, 7), (2, 4))[0].tolist()
    [[1, 2, 3, 4], [1, 2, 3, 4]]
    """
    spans = middle_spans(view.shape[1:], size)
    inside = np.asarray(view[(slice(None), *(slice(start, start + n) for start, _, n in spans))])
    short = [(at, wanted - at - n) for (_, at, n), wanted in zip(spans, size, strict=True)]
    return np.pad(inside, [(0, 0), *short], mode="edge")


def middle_spans(shape: Sequence[int], size: Sequence[int]) -> list[tuple[int, int, int]]:
    """What :func:`middle` takes along each axis: first pixel, where it goes in the box, and how many.

    Examples
    --------
    >>> middle_spans((9, 2), (4, 5))
    [(2, 0, 4), (0, 1, 2)]
    """
    return [
        (max(0, (n - wanted) // 2), max(0, (wanted - n) // 2), min(n, wanted))
        for n, wanted in zip(shape, size, strict=True)
    ]


@lru_cache(maxsize=256)
def _axis_map(size: int, count: int) -> AxisMap:
    return AxisMap(size, count)


def cut_box(view: ArrayLike, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Cut a box out of an image; beyond its border the image is mirrored.

    Parameters
    ----------
    view : array-like, shape (C, [z,] y, x)
        Sliced, never read whole.
    start : sequence of int
        First pixel of the box; may lie outside.
    size : sequence of int
        Of the box.

    Returns
    -------
    ndarray, shape (C, *size)

    Examples
    --------
    >>> cut_box(np.arange(6).reshape(1, 2, 3), (-1, 1), (3, 3))[0].tolist()
    [[1, 2, 2], [1, 2, 2], [4, 5, 5]]
    """
    spatial = view.shape[1:]
    low = [min(max(a, 0), n - 1) for a, n in zip(start, spatial, strict=True)]
    high = [max(min(a + s, n), b + 1) for a, s, n, b in zip(start, size, spatial, low, strict=True)]
    inside = np.asarray(view[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))])
    beyond = [(max(b - a, 0), max(a + s - c, 0)) for a, s, b, c in zip(start, size, low, high, strict=True)]
    box = np.pad(inside, [(0, 0), *beyond], mode="symmetric")
    return box[(slice(None), *(slice(0, s) for s in size))]
