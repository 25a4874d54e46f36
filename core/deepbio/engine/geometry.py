"""From an image's own grid to the one that a network works on: views that read what is sliced.

:mod:`deepbio.engine.placement` says where the working grid lies,
:mod:`deepbio.engine.return_trip` brings results back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from deepbio.engine.grid_spec import GridSpec
from deepbio.engine.placement import Box, Placement, place
from deepbio.engine.resample import AxisMap, interpolate, interpolate_axis, nearest
from deepbio.errors import ImageError
from deepbio.image import ArrayLike, Grid

__all__ = [
    "CanonicalView",
    "GridSpec",
    "Placement",
    "Working",
    "labels_to_working",
    "nonzero_box",
    "place",
    "place_image",
    "to_working",
]

_CHUNK = 2**22  # pixels read or made at once
_ROUNDING = 1e-6  # of weights, which add up to 1


class CanonicalView:
    """An array-like of shape (C, [z,] y, x) over another, with canonical axes; reads what is sliced.

    Examples
    --------
    >>> grid = Grid((1, 2, 3))  # S, P, L
    >>> view = CanonicalView(np.arange(6).reshape(1, 1, 2, 3), place(grid, GridSpec(orientation="SPR")))
    >>> view[0, 0, :1].tolist()
    [[2, 1, 0]]
    """

    def __init__(self, array: ArrayLike, placement: Placement) -> None:
        self._array, self._placement = array, placement
        self.shape = (int(array.shape[0]), *placement.canonical_shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        spans, rest = _spans(key, self.shape)
        return self.read(spans)[rest]

    def read(self, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """Pixels of a box: first and one past the last along the channel and each canonical axis."""
        placement = self._placement
        own = [slice(*spans[0])] + [slice(None)] * len(placement.axes)
        for (start, stop), axis, flip in zip(spans[1:], placement.axes, placement.flips, strict=True):
            size = placement.source.shape[axis]
            own[1 + axis] = slice(size - stop, size - start) if flip else slice(start, stop)
        return placement.canonical(np.asarray(self._array[tuple(own)]))


def _spans(key: Any, shape: tuple[int, ...]) -> tuple[list[tuple[int, int]], tuple[Any, ...]]:
    """The box that a key needs, and what is left to be done with that box."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(k is Ellipsis for k in keys):
        at = next(n for n, k in enumerate(keys) if k is Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    keys += [slice(None)] * (len(shape) - len(keys))
    spans: list[tuple[int, int]] = []
    rest: list[Any] = []
    for one, size in zip(keys, shape, strict=True):
        if isinstance(one, slice):
            start, stop, step = one.indices(size)
            if step < 1:
                raise IndexError("only slices that go forward can be read")
            spans.append((start, max(start, stop)))
            rest.append(slice(None, None, step))
        else:
            index = range(size)[one]
            spans.append((index, index + 1))
            rest.append(0)
    return spans, tuple(rest)


def nonzero_box(view: ArrayLike, *, positive: bool = False) -> Box:
    """Bounding box of the pixels that are not 0 in any channel, read band by band.

    Parameters
    ----------
    view : array-like, shape (C, [z,] y, x)
        The image in canonical axes.
    positive : bool
        Only pixels above 0 count.

    Returns
    -------
    tuple of (int, int)
        Along each spatial axis; the whole image where all pixels are 0.

    Examples
    --------
    >>> image = np.zeros((1, 5, 7))
    >>> image[0, 1:3, 4] = 2
    >>> nonzero_box(image)
    ((1, 3), (4, 5))
    """
    sizes = tuple(view.shape[1:])
    seen = [np.zeros(n, bool) for n in sizes]
    rows = max(1, _CHUNK // max(1, math.prod(view.shape) // sizes[0]))
    for start in range(0, sizes[0], rows):
        pixels = np.asarray(view[:, start : start + rows])
        band = np.any(pixels > 0 if positive else pixels != 0, axis=0)
        for axis, flags in enumerate(seen):
            found = band.any(axis=tuple(k for k in range(band.ndim) if k != axis))
            flags[slice(start, start + rows) if axis == 0 else slice(None)] |= found
    if not seen[0].any():
        return tuple((0, n) for n in sizes)
    places = [np.flatnonzero(flags) for flags in seen]
    return tuple((int(at[0]), int(at[-1]) + 1) for at in places)


def place_image(array: ArrayLike, grid: Grid, spec: GridSpec) -> Placement:
    """As :func:`place`, with the box that ``spec.crop`` asks for found in the pixels.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        The image on its own grid.
    grid : Grid
        That grid.
    spec : GridSpec
        What the card asks for.
    """
    placement = place(grid, spec)
    if not spec.crop:
        return placement
    return place(grid, spec, nonzero_box(CanonicalView(array, placement), positive=spec.crop == "positive"))


class Working:
    """An array-like of shape (C, [z,] y, x) on the working grid; interpolates only what is sliced.

    Pixels keep their type and values where the placement is exact; else they are float32, and not beyond
    the `limits` (smallest and largest, of shapes that broadcast to this) where there are any. Made by
    :func:`to_working`.
    """

    def __init__(
        self,
        array: ArrayLike,
        placement: Placement,
        *,
        limits: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        if tuple(array.shape[1:]) != placement.source.shape:
            raise ImageError(f"The pixels have shape {array.shape[1:]}, their grid {placement.source.shape}.")
        self._view = CanonicalView(array, placement)
        self._placement = placement
        self._limits = limits
        self.shape = (int(array.shape[0]), *placement.grid.shape)
        self.dtype = self._view.dtype if placement.exact else np.dtype(np.float32)

    def __getitem__(self, key: Any) -> np.ndarray:
        spans, rest = _spans(key, self.shape)
        if any(stop <= start for start, stop in spans):
            return np.zeros([stop - start for start, stop in spans], self.dtype)[rest]
        return self._read(spans)[rest]

    def _read(self, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        placement = self._placement
        corner = [start for start, _ in placement.box]
        if placement.exact:
            moved = [(a + low, b + low) for (a, b), low in zip(spans[1:], corner, strict=True)]
            return self._view.read([spans[0], *moved])
        maps, places = placement.maps, spans[1:]
        inputs = [m.span(*span) for m, span in zip(maps, places, strict=True)]
        outer = placement.axes.index(0)  # files are read along their own first axis
        across = (spans[0][1] - spans[0][0]) * math.prod(b - a for a, b in inputs)
        rows = max(1, _CHUNK * (inputs[outer][1] - inputs[outer][0]) // across)
        parts = []
        for low in range(*inputs[outer], rows):
            wanted = list(inputs)
            wanted[outer] = (low, min(low + rows, inputs[outer][1]))
            moved = [(a + at, b + at) for (a, b), at in zip(wanted, corner, strict=True)]
            block = np.ascontiguousarray(self._view.read([spans[0], *moved]), np.float32)
            parts.append(interpolate(block, maps, places, skip=outer))
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=outer + 1)
        values = interpolate_axis(whole, outer + 1, maps[outer], *places[outer])
        if self._limits is not None:
            sizes = zip(spans, self._limits[0].shape, strict=True)
            key = tuple(slice(*span) if size > 1 else slice(None) for span, size in sizes)
            np.clip(values, self._limits[0][key], self._limits[1][key], out=values)
        return values

    def bands(self) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        """All of it in bands that are cheap to read: (key, pixels) with keys that follow each other."""
        outer = self._placement.axes.index(0) + 1
        rows = max(1, 4 * _CHUNK * self.shape[outer] // math.prod(self.shape))
        for start in range(0, self.shape[outer], rows):
            key = [slice(None)] * len(self.shape)
            key[outer] = slice(start, min(start + rows, self.shape[outer]))
            yield tuple(key), self[tuple(key)]


def to_working(array: ArrayLike, placement: Placement) -> Working:
    """The image on the working grid, read and interpolated where it is sliced.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        The image on its own grid.
    placement : Placement
        From :func:`place`.

    Returns
    -------
    Working
        ``[...]`` is an ndarray, float32 unless ``placement.exact``.

    Examples
    --------
    >>> grid = Grid((1, 24), (1.0, 1.0), unit="millimeter")
    >>> ramp = np.arange(24.0).reshape(1, 1, 24)
    >>> print(to_working(ramp, place(grid, GridSpec((None, 2.0))))[0, 0, 4:7].round(5))
    [ 8.5 10.5 12.5]
    """
    return Working(array, placement)


def labels_to_working(labels: np.ndarray, placement: Placement) -> np.ndarray:
    """Labels on the working grid: at each place the label with the highest linear weight.

    Of equal weights the lower label is taken; where the placement is as nnU-Net's, that of the nearest pixel.

    Parameters
    ----------
    labels : ndarray of integers >= 0, shape ([z,] y, x)
        Labels on the image's own grid.
    placement : Placement
        From :func:`place`.

    Returns
    -------
    ndarray
        Of the same type; has no value that `labels` does not have.

    Raises
    ------
    ImageError
        If there are negative labels.
    """
    box = np.ascontiguousarray(placement.canonical(labels)[placement.in_box])
    if placement.exact:
        return box
    if box.min() < 0:
        raise ImageError(f"Labels must not be negative, found {box.min()}.")
    maps = placement.linear_maps
    result = np.zeros(placement.grid.shape, labels.dtype)
    best = np.zeros(result.shape, np.float32)
    total = np.zeros(result.shape, np.float32)
    near = _nearest(box, result.shape) if placement.interpolation == "nnunet" else None
    near_weight = np.zeros(result.shape, np.float32)
    values, inverse = np.unique(box, return_inverse=True)
    ranks = inverse.reshape(box.shape).astype(np.int32) + (values[0] != 0)  # 0 is background
    for rank, where in enumerate(ndimage.find_objects(ranks), 1):
        spans = [_reached(m, part) for m, part in zip(maps, where, strict=True)]
        if any(start >= stop for start, stop in spans):
            continue
        needed = tuple(slice(*m.span(*span)) for m, span in zip(maps, spans, strict=True))
        weight = interpolate((ranks[needed] == rank)[None].astype(np.float32), maps, spans)[0]
        here = tuple(slice(*span) for span in spans)
        total[here] += weight
        higher = weight > best[here]
        value = values[rank - (values[0] != 0)]
        best[here][higher] = weight[higher]
        result[here][higher] = value
        if near is not None:
            same = near[here] == value
            near_weight[here][same] = weight[same]
    rest = 1 - total
    result[rest > best] = 0
    if near is not None:
        near_weight[near == 0] = rest[near == 0]
        tied = near_weight >= np.maximum(best, rest) - _ROUNDING
        result[tied] = near[tied]
    return result


def _nearest(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The label of the pixel whose extent holds each place."""
    return np.asarray(
        labels[np.ix_(*(nearest(n, count) for n, count in zip(labels.shape, shape, strict=True)))]
    )


def _reached(mapping: AxisMap, part: slice) -> tuple[int, int]:
    """Places that the pixels of `part` have weight at."""
    if mapping.identity:
        return part.start, part.stop
    spans = np.array([mapping.span(i, i + 1) for i in range(mapping.count)])
    touched = np.flatnonzero((spans[:, 1] > part.start) & (spans[:, 0] < part.stop))
    return (int(touched[0]), int(touched[-1]) + 1) if touched.size else (0, 0)
