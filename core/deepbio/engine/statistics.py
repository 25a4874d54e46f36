"""Means, deviations and percentiles of whole images, with bounded memory.

Three ways to the same numbers, chosen by :func:`measure_of`:

* integers of up to 16 bit: exact, from one histogram per channel that is read block by block;
* other images: mean and deviation exact up to rounding (block by block, float64, merged as in
  Chan, Golub and LeVeque, 1983, doi:10.1080/00031305.1983.10483115); percentiles exact up to
  2**24 values and from a regular subsample of about that many above;
* arrays in memory (:class:`ArrayMeasure`): numpy's own functions, along any axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from deepbio.errors import CardError, InputMismatch
from deepbio.image import ArrayLike

__all__ = [
    "ArrayMeasure",
    "HistogramMeasure",
    "Measure",
    "StreamMeasure",
    "along",
    "check_finite",
    "measure_of",
]

BLOCK = 2**22  # pixels read at once: 16 MB as float32
SAMPLE = 2**24  # values from which percentiles are computed

Transform = Callable[[np.ndarray], np.ndarray]


class Measure(Protocol):
    """Statistics over some axes; the results broadcast against the array.

    ``axes`` are names of the axes to be reduced; None means all. ``transform`` is applied to the
    pixels (float32) first.
    """

    def moments(self, axes: Sequence[str] | None, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (of the population)."""

    def quantiles(
        self, axes: Sequence[str] | None, fractions: Sequence[float], method: str, transform: Transform
    ) -> list[np.ndarray]:
        """Values at some fractions; `method` is ``"linear"`` or ``"inverted_cdf"`` as in numpy."""


def measure_of(source: ArrayLike, axes: Sequence[str], *, mixes: bool, inside: bool = False) -> Measure:
    """Choose how the statistics of an image are found.

    Parameters
    ----------
    source : array-like
        The image.
    axes : sequence of str
        Names of its axes.
    mixes : bool
        Whether pixels are transformed together with others (softmax), so that a histogram does
        not tell enough.
    inside : bool
        Only pixels that are not 0 in all channels count.
    """
    dtype = np.dtype(source.dtype)
    if dtype.kind in "biu" and dtype.itemsize <= 2 and not mixes:
        return HistogramMeasure(source, axes, inside=inside)
    return StreamMeasure(source, axes, inside=inside)


def check_finite(block: np.ndarray) -> None:
    """Refuse NaN and infinite pixels.

    Raises
    ------
    InputMismatch
        If there is one.
    """
    if block.dtype.kind == "f" and not np.isfinite(block).all():
        bad = int(np.count_nonzero(~np.isfinite(block)))
        raise InputMismatch(
            f"The image has pixels that are not numbers ({bad} NaN or infinite in one block of {block.size}).",
            "Replace them first, for example by the median of their neighbours or by 0.",
        )


def blocks(source: ArrayLike, axes: Sequence[str]) -> Iterator[np.ndarray]:
    """Read an image in blocks of at most `BLOCK` pixels; channels are never cut apart."""
    size = list(source.shape)
    for k, name in enumerate(axes):
        if name not in ("channel", "batch") and math.prod(size) > BLOCK:
            size[k] = max(1, BLOCK // (math.prod(size) // size[k]))
    starts = [range(0, whole, part) for whole, part in zip(source.shape, size, strict=True)]
    for corner in itertools.product(*starts):
        block = np.asarray(source[tuple(slice(s, s + n) for s, n in zip(corner, size, strict=True))])
        check_finite(block)
        yield block


def along(values: Any, axis: int, ndim: int) -> np.ndarray:
    """Lay values along one axis of an array with `ndim` axes, as float32."""
    shape = [-1 if k == axis else 1 for k in range(ndim)]
    return np.asarray(values, np.float32).reshape(shape)


class _ByChannel:
    """What the two ways of reading block by block share: groups are channels, or there is one."""

    def __init__(self, source: ArrayLike, axes: Sequence[str], *, inside: bool = False) -> None:
        self._source = source
        self._axes = tuple(axes)
        self._inside = inside
        self._channel = self._axes.index("channel") if "channel" in self._axes else None
        self._count = 1 if self._channel is None else int(source.shape[self._channel])

    def _rows(self, block: np.ndarray) -> np.ndarray:
        """Block as (channels, pixels)."""
        if self._channel is None:
            return block.reshape(1, -1)
        return np.moveaxis(block, self._channel, 0).reshape(self._count, -1)

    def _counted(self, values: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Values of a block as (channels, pixels), of those pixels that count."""
        rows = self._rows(values)
        return rows[:, self._rows(raw).any(axis=0)] if self._inside else rows

    def _grouped(self, rows: np.ndarray, axes: Sequence[str] | None) -> np.ndarray:
        """Rows as (groups, values), for the groups that keep their own statistics."""
        kept = [name for name in self._axes if axes is not None and name not in axes and name != "batch"]
        if set(kept) - {"channel"}:
            raise CardError(
                f"The card wants statistics per {kept[-1]!r}; over a whole image only those of all pixels "
                "or per channel can be found.",
                "Run the model on each slice, or write the card so that the axes z, y and x are taken jointly.",
            )
        return rows if kept else rows.reshape(1, -1)

    def _shaped(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """One value per group, so that it broadcasts against the image."""
        array = np.asarray(values, np.float64)
        ndim = len(self._axes)
        if self._channel is None or array.size == 1:
            return array.reshape((1,) * ndim)
        return array.reshape([-1 if k == self._channel else 1 for k in range(ndim)])


class HistogramMeasure(_ByChannel):
    """Exact statistics of integers of up to 16 bit.

    Parameters
    ----------
    source : array-like of bool, int8, uint8, int16 or uint16
        The image.
    axes : sequence of str
        Names of its axes.

    Examples
    --------
    >>> measure = HistogramMeasure(np.array([[0, 2], [4, 6]], np.uint8), ("y", "x"))
    >>> [value.item() for value in measure.moments(None, lambda pixels: pixels)]
    [3.0, 2.23606797749979]
    """

    def __init__(self, source: ArrayLike, axes: Sequence[str], *, inside: bool = False) -> None:
        super().__init__(source, axes, inside=inside)
        dtype = np.dtype(source.dtype)
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        self._values = np.arange(low, high + 1, dtype=np.float32)
        self._counts = np.zeros((self._count, self._values.size), np.int64)
        for block in blocks(source, axes):
            for counts, row in zip(self._counts, self._counted(block, block), strict=True):
                counts += np.bincount(row.astype(np.intp) - low, minlength=counts.size)
        if not self._counts.any():  # nothing is inside: an image of zeros
            self._counts[:, -low] = 1

    def _table(self, axes: Sequence[str] | None, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """Transformed values and how often each occurs, (groups, values) each."""
        # The values stand in for an image with every value once in each channel.
        pixels = np.tile(self._values, (self._count, 1)).reshape(
            self._count, -1, *(1,) * (len(self._axes) - 1)
        )
        if self._channel is None:
            pixels = pixels[0].reshape(-1, *(1,) * (len(self._axes) - 1))
        else:
            pixels = pixels.reshape(self._count, -1, *(1,) * (len(self._axes) - 2))
            pixels = np.moveaxis(pixels, 0, self._channel)
        values = self._rows(transform(np.ascontiguousarray(pixels)))
        return self._grouped(values, axes), self._grouped(self._counts, axes)

    def moments(self, axes: Sequence[str] | None, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Measure`."""
        values, counts = self._table(axes, transform)
        values = values.astype(np.float64)
        total = counts.sum(axis=1, keepdims=True)
        mean = (values * counts).sum(axis=1, keepdims=True) / total
        variance = ((values - mean) ** 2 * counts).sum(axis=1, keepdims=True) / total
        return self._shaped(mean), self._shaped(np.sqrt(variance))

    def quantiles(
        self, axes: Sequence[str] | None, fractions: Sequence[float], method: str, transform: Transform
    ) -> list[np.ndarray]:
        """See :class:`Measure`."""
        found = []
        for values, counts in zip(*self._table(axes, transform), strict=True):
            order = np.argsort(values, kind="stable")
            last = np.cumsum(counts[order])  # one behind the last place that each value takes when sorted
            row = []
            for fraction in fractions:
                below, above, weight = _places(int(last[-1]), fraction, method)
                low, high = values[order[np.searchsorted(last, [below, above], side="right")]].tolist()
                row.append(low + (high - low) * weight)
            found.append(row)
        return [self._shaped(column) for column in zip(*found, strict=True)]


def _places(total: int, fraction: float, method: str) -> tuple[int, int, float]:
    """Two places among `total` sorted values and the weight of the second, as in numpy.quantile."""
    if method == "inverted_cdf":
        place = max(math.ceil(total * fraction) - 1, 0)
        return place, place, 0.0
    position = (total - 1) * fraction
    below = math.floor(position)
    return below, min(below + 1, total - 1), position - below


class StreamMeasure(_ByChannel):
    """Statistics of any image, block by block; one pass over it for each question."""

    def moments(self, axes: Sequence[str] | None, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Measure`."""
        count, mean, square = 0, np.zeros(1), np.zeros(1)
        for block in blocks(self._source, self._axes):
            counted = self._counted(transform(block.astype(np.float32)), block)
            values = self._grouped(counted, axes).astype(np.float64)
            n = values.shape[1]
            if not n:
                continue
            part = values.mean(axis=1)
            values -= part[:, np.newaxis]
            difference = part - mean
            total = count + n
            square = square + np.einsum("gp,gp->g", values, values) + difference**2 * (count * n / total)
            mean = mean + difference * (n / total)
            count = total
        return self._shaped(mean), self._shaped(np.sqrt(square / max(count, 1)))

    def quantiles(
        self, axes: Sequence[str] | None, fractions: Sequence[float], method: str, transform: Transform
    ) -> list[np.ndarray]:
        """See :class:`Measure`."""
        stride = self._stride()
        parts, skip = [], 0
        for block in blocks(self._source, self._axes):
            rows = self._counted(transform(block.astype(np.float32)), block)
            parts.append(rows[:, skip::stride].copy())
            skip = (skip - rows.shape[1]) % stride
        values = self._grouped(np.concatenate(parts, axis=1), axes)
        places = [_places(values.shape[1], fraction, method) for fraction in fractions]
        values.partition(sorted({place for below, above, _ in places for place in (below, above)}), axis=1)
        found = []
        for below, above, weight in places:
            low, high = values[:, [below, above]].astype(np.float64).T
            found.append(self._shaped(low + (high - low) * weight))
        return found

    def _stride(self) -> int:
        """Every how many pixels are taken; no divisor of a row, so that all columns take part."""
        size, width = math.prod(self._source.shape), int(self._source.shape[-1])
        stride = -(-size // SAMPLE)
        while math.gcd(stride, width) > 1:
            stride += 1
        return stride


class ArrayMeasure:
    """Statistics of an array in memory, along any axes.

    Parameters
    ----------
    array : ndarray
        The array.
    axes : sequence of str
        Names of its axes.
    """

    def __init__(self, array: np.ndarray, axes: Sequence[str]) -> None:
        self._array = array
        self._axes = tuple(axes)

    def _reduced(self, axes: Sequence[str] | None) -> tuple[int, ...]:
        return tuple(k for k, name in enumerate(self._axes) if axes is None or name in axes)

    def moments(self, axes: Sequence[str] | None, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Measure`."""
        pixels = transform(self._array.astype(np.float32))
        where = self._reduced(axes)
        return (
            pixels.mean(axis=where, keepdims=True, dtype=np.float64),
            pixels.std(axis=where, keepdims=True, dtype=np.float64),
        )

    def quantiles(
        self, axes: Sequence[str] | None, fractions: Sequence[float], method: str, transform: Transform
    ) -> list[np.ndarray]:
        """See :class:`Measure`."""
        pixels = transform(self._array.astype(np.float32)).astype(np.float64)
        where = self._reduced(axes)
        return list(np.quantile(pixels, fractions, axis=where, keepdims=True, method=method))  # type: ignore[call-overload]
