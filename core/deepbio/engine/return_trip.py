"""Results on the working grid, brought back to the image's own grid band by band.

Scores are interpolated linearly before the decision; what a class at a place would get is a weighted
mean of its scores around it. So a class that has less than another one at all of them cannot win,
and :func:`classes_to_input` interpolates only those that can: of a hundred classes mostly one or two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from deepbio.engine.placement import Placement
from deepbio.engine.resample import AxisMap, interpolate, nearest

__all__ = ["Bands", "classes_to_input", "labels_to_input", "scores_to_input"]

Bands = Iterable[tuple[int, int, np.ndarray]]

_VALUES = 2**24  # scores in a band that is handed out: 64 MB
_PIXELS = 2**22  # pixels of a slab whose classes are decided
_EDGE = 64  # pixels of a block: large enough for fast arithmetic, small enough to have few classes


class _Rows:
    """Rows of scores along the first axis, taken from bands as they are needed and then let go."""

    def __init__(self, bands: Bands) -> None:
        self._bands = iter(bands)
        self._held: list[tuple[int, int, np.ndarray]] = []

    def take(self, low: int, high: int) -> np.ndarray:
        """Scores of the rows from `low` up to `high`; both never go back from call to call."""
        self._held = [band for band in self._held if band[1] > low]
        while not self._held or self._held[-1][1] < high:
            self._held.append(next(self._bands))
        parts = [
            scores[:, max(low - start, 0) : high - start]
            for start, stop, scores in self._held
            if stop > low and start < high
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def finish(self) -> None:
        """Let the bands come to their end, so that whoever makes them can tidy up."""
        for _ in self._bands:
            pass


def scores_to_input(bands: Bands, placement: Placement) -> Iterator[tuple[int, int, np.ndarray]]:
    """Interpolate scores to the canonical axes of the image.

    Parameters
    ----------
    bands : iterable of (start, stop, scores)
        Consecutive bands on the working grid; scores are float32, shape (K, stop - start, ...).
    placement : Placement
        Where the working grid lies.

    Yields
    ------
    start, stop : int
        Rows of ``placement.box`` along its first axis, counted from the box's first row.
    scores : ndarray of float32, shape (K, stop - start, ...)
        Interpolated linearly; a band holds at most 64 MB, or one row.
    """
    if placement.exact:
        yield from bands
        return
    maps, shape = placement.back_maps, placement.box_shape
    rows = _Rows(bands)
    start = 0
    while start < shape[0]:
        window = rows.take(*maps[0].span(start, start + 1))
        height = max(1, _VALUES // (window.shape[0] * math.prod(shape[1:])))
        stop = min(start + height, shape[0])
        window = np.ascontiguousarray(rows.take(*maps[0].span(start, stop)))
        yield start, stop, interpolate(window, maps, [(start, stop), *((0, n) for n in shape[1:])])
        start = stop
    rows.finish()


def classes_to_input(bands: Bands, placement: Placement, out: Any) -> int:
    """Interpolate scores to the image and write the class with the highest one.

    The same classes as ``argmax`` over :func:`scores_to_input`, without ever holding the scores of
    all classes at full size.

    Parameters
    ----------
    bands : iterable of (start, stop, scores)
        Consecutive bands on the working grid; scores are float32, shape (K, stop - start, ...).
    placement : Placement
        Where the working grid lies.
    out : array-like of integers
        The box of the image, in canonical axes; slices of it are written.

    Returns
    -------
    int
        Number of classes present, background not counted.
    """
    maps, shape = placement.back_maps, placement.box_shape
    rows = _Rows(bands)
    present: set[int] = set()
    height = max(1, _PIXELS // math.prod(shape[1:]))
    for start in range(0, shape[0], height):
        stop = min(start + height, shape[0])
        low, high = maps[0].span(start, stop)
        window = rows.take(low, high)
        slab = np.empty((stop - start, *shape[1:]), np.min_scalar_type(window.shape[0]))
        for key, spans in _blocks(shape[1:]):
            inner = [m.span(*span) for m, span in zip(maps[1:], spans, strict=True)]
            block = window[(slice(None), slice(None), *(slice(*span) for span in inner))]
            slab[(slice(None), *key)] = _strongest(block, maps, [(start, stop), *spans], present)
        out[start:stop] = slab
    rows.finish()
    return len(present - {0})


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], list[tuple[int, int]]]]:
    """Blocks that cover the axes after the first."""
    counts = [math.ceil(n / _EDGE) for n in shape]
    for index in np.ndindex(*counts):
        spans = [(i * _EDGE, min((i + 1) * _EDGE, n)) for i, n in zip(index, shape, strict=True)]
        yield tuple(slice(*span) for span in spans), spans


def _strongest(
    block: np.ndarray, maps: tuple[AxisMap, ...], spans: list[tuple[int, int]], present: set[int]
) -> np.ndarray | int:
    """Class with the highest interpolated score in a block; the first of those that are equal."""
    flat = block.reshape(block.shape[0], -1)
    champion = int(np.bincount(flat.argmax(0)).argmax())
    rivals = [int(k) for k in np.flatnonzero((flat >= flat[champion]).any(axis=1))]
    if len(rivals) == 1:
        present.add(champion)
        return champion
    best: np.ndarray | None = None
    for k in rivals:
        scores = interpolate(np.ascontiguousarray(block[k : k + 1]), maps, spans)[0]
        if best is None:
            best, winner = scores, np.full(scores.shape, k, np.min_scalar_type(block.shape[0]))
        else:
            higher = scores > best
            np.copyto(winner, k, where=higher)
            np.maximum(best, scores, out=best)
    present.update(np.flatnonzero(np.bincount(winner.ravel())).tolist())
    return winner


def labels_to_input(labels: np.ndarray, placement: Placement, out: Any, *, min_size: int = 1) -> int:
    """Bring labels of objects back: each pixel takes the label of the place that holds its centre.

    An object so small that it holds no centre keeps the pixel in which most of it lies.

    Parameters
    ----------
    labels : ndarray of integers
        Labels on the working grid, 0 or more.
    placement : Placement
        Where it lies.
    out : array-like of integers
        The box of the image, in canonical axes; slices of it are written.
    min_size : int
        Objects with fewer pixels in `out` are dropped.

    Returns
    -------
    int
        Number of objects in `out`. They keep their labels, unless some were dropped (or shared one pixel
        with another): then the rest is numbered from 1 in the same order.
    """
    shape = placement.box_shape
    rows, *others = (nearest(size, count) for size, count in zip(placement.grid.shape, shape, strict=True))
    before, after = np.zeros(1, np.int64), np.zeros(1, np.int64)  # pixels by label
    for start, stop in _bands_of(shape):
        band = labels[np.ix_(rows[start:stop], *others)]
        out[start:stop] = band
        after = _added(after, band)
    if any(size > count for size, count in zip(placement.grid.shape, shape, strict=True)):
        for start, stop in _bands_of(placement.grid.shape):
            before = _added(before, labels[start:stop])
        after = np.pad(after, (0, len(before) - len(after)))
        _restore(labels, placement, out, np.flatnonzero((before > 0) & (after == 0)), after)
    else:  # every place holds a centre
        before = after
    present = after >= max(min_size, 1)
    present[0] = False
    if np.any(present[1:] < (before[1:] > 0)):
        numbers = np.where(present, np.cumsum(present), 0)
        for start, stop in _bands_of(shape):
            out[start:stop] = numbers[out[start:stop]]
    return int(np.count_nonzero(present))


def _bands_of(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """First row, and one past the last, of bands along the first axis."""
    height = max(1, _PIXELS // math.prod(shape[1:]))
    for start in range(0, shape[0], height):
        yield start, min(start + height, shape[0])


def _added(areas: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pixels by label, with those of one more band."""
    found = np.bincount(labels.ravel(), minlength=len(areas))
    found[: len(areas)] += areas
    return found


def _restore(labels: np.ndarray, placement: Placement, out: Any, lost: np.ndarray, areas: np.ndarray) -> None:
    """Give each lost object the pixel in which most of it lies; no other object loses its last one.

    `areas` has the pixels by label, and is kept up to date.
    """
    if not len(lost):
        return
    shape = placement.box_shape
    # the pixel that holds each place, along each axis
    rows, *others = (nearest(count, size) for size, count in zip(placement.grid.shape, shape, strict=True))
    is_lost = np.zeros(len(areas), bool)
    is_lost[lost] = True
    pixels, owners = [], []
    for start, stop in _bands_of(placement.grid.shape):
        band = labels[start:stop]
        at = np.nonzero(is_lost[band])
        inner = [axis[index] for axis, index in zip(others, at[1:], strict=True)]
        pixels.append(np.ravel_multi_index((rows[at[0] + start], *inner), shape))
        owners.append(band[at])
    # places of one object in one pixel
    pairs, weights = np.unique(
        np.stack([np.concatenate(owners), np.concatenate(pixels)]), axis=1, return_counts=True
    )
    for number in np.lexsort((pairs[1], -weights, pairs[0])):
        label, pixel = pairs[:, number]
        where = np.unravel_index(pixel, shape)
        owner = out[where]
        if areas[label] == 0 and (owner == 0 or areas[owner] > 1):
            out[where] = label
            areas[[owner, label]] += (-1, 1)
