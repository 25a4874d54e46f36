"""Measurements of labelled objects, in the units of the grid, band by band.

The quantities and their names are those of scikit-image's ``regionprops``; they are computed here
from sums over bands, because that function needs the whole image in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from deepbio.image import ArrayLike, Grid, Table

__all__ = ["measure_objects"]

_BAND_PIXELS = 2**22
_SYMBOLS = {"pixel": "px", "micrometer": "um", "millimeter": "mm"}


def measure_objects(
    labels: ArrayLike, image: ArrayLike | None, grid: Grid, *, channels: Sequence[str] = ()
) -> Table:
    """Measure size, place, shape and intensity of every object.

    Parameters
    ----------
    labels : array-like of int, shape ([z,] y, x)
        Objects; 0 is background.
    image : array-like, shape (C, [z,] y, x), or None
        Intensities; None leaves their columns out.
    grid : Grid
        Spacing and unit of both.
    channels : sequence of str
        Names of the channels, for the columns; needed where there are several.

    Returns
    -------
    Table
        One row per label, in order. Size (``area`` or ``volume``), ``centroid_*`` as the distance
        from the centre of the first pixel, ``equivalent_diameter``, axes of the ellipse (ellipsoid)
        of equal second moments, in 2D also ``eccentricity`` and ``orientation`` (degrees between
        the y axis and the major axis, counter-clockwise), then mean, standard deviation, minimum
        and maximum of each channel.

    Examples
    --------
    >>> labels = np.zeros((4, 6), np.int32)
    >>> labels[1:3, 2:5] = 7
    >>> table = measure_objects(labels, None, Grid((4, 6), (0.5, 0.5), unit="micrometer"))
    >>> table["area"].tolist(), table.units["area"], table["centroid_x"].tolist()
    ([1.5], 'um^2', [1.5])
    """
    sums = _Sums(grid.ndim, image.shape[0] if image is not None else 0)
    rows = max(1, _BAND_PIXELS // math.prod(labels.shape[1:]))
    for start in range(0, labels.shape[0], rows):
        band = np.asarray(labels[start : start + rows])
        pixels = None if image is None else np.asarray(image[:, start : start + rows])
        sums.add(start, band, pixels)
    return sums.table(grid, tuple(channels))


class _Sums:
    """Sums over the pixels of each label."""

    def __init__(self, dims: int, channels: int) -> None:
        self._dims, self._channels = dims, channels
        pairs = dims * (dims + 1) // 2
        # count, positions, products of positions, then per channel the sum
        self._sums = np.zeros((1 + dims + pairs + channels, 0))
        self._squares = np.zeros((channels, 0))  # about a mean that is updated band by band
        self._low = np.zeros((channels, 0))
        self._high = np.zeros((channels, 0))

    def add(self, start: int, labels: np.ndarray, image: np.ndarray | None) -> None:
        inside = np.flatnonzero(labels)
        if not len(inside):
            return
        ids = labels.ravel()[inside]
        size = max(int(ids.max()) + 1, self._sums.shape[1])
        self._grow(size)
        where = [axis.astype(np.float64) for axis in np.unravel_index(inside, labels.shape)]
        where[0] += start
        terms = [
            None,
            *where,
            *(where[a] * where[b] for a in range(self._dims) for b in range(a, self._dims)),
        ]
        before = self._sums[0].copy()
        for row, weight in zip(self._sums, terms, strict=False):
            row += np.bincount(ids, weight, minlength=size)
        if image is not None:
            self._add_intensities(
                ids, image.reshape(self._channels, -1)[:, inside].astype(np.float64), before
            )

    def _add_intensities(self, ids: np.ndarray, values: np.ndarray, before: np.ndarray) -> None:
        size = self._sums.shape[1]
        count = np.bincount(ids, minlength=size)
        for channel, value in enumerate(values):
            total = self._sums[1 + self._dims + self._dims * (self._dims + 1) // 2 + channel]
            added = np.bincount(ids, value, minlength=size)
            mean = added / np.maximum(count, 1)
            # parallel variance: Chan, Golub & LeVeque, 1983 (doi:10.1080/00031305.1983.10483115)
            gap = np.where(before > 0, mean - total / np.maximum(before, 1), 0)
            spread = np.bincount(ids, (value - mean[ids]) ** 2, minlength=size)
            self._squares[channel] += spread + gap**2 * before * count / np.maximum(before + count, 1)
            total += added
            np.minimum.at(self._low[channel], ids, value)
            np.maximum.at(self._high[channel], ids, value)

    def _grow(self, size: int) -> None:
        extra = size - self._sums.shape[1]
        if extra > 0:
            self._sums = np.pad(self._sums, ((0, 0), (0, extra)))
            self._squares = np.pad(self._squares, ((0, 0), (0, extra)))
            self._low = np.pad(self._low, ((0, 0), (0, extra)), constant_values=np.inf)
            self._high = np.pad(self._high, ((0, 0), (0, extra)), constant_values=-np.inf)

    def table(self, grid: Grid, channels: tuple[str, ...]) -> Table:
        dims = self._dims
        present = np.flatnonzero(self._sums[0]) if self._sums.shape[1] else np.zeros(0, int)
        sums = self._sums[:, present]
        count = sums[0]
        unit = _SYMBOLS[grid.unit]
        centre = sums[1 : 1 + dims] / count
        size = count * math.prod(grid.spacing)
        names = "zyx"[3 - dims :]
        columns: dict[str, np.ndarray] = {"label": present, ("area" if dims == 2 else "volume"): size}
        units = {"area" if dims == 2 else "volume": f"{unit}^{dims}"}
        for axis, name in enumerate(names):
            columns[f"centroid_{name}"] = centre[axis] * grid.spacing[axis]
        factor = 4 / math.pi if dims == 2 else 6 / math.pi
        columns["equivalent_diameter"] = (factor * size) ** (1 / dims)
        columns |= _shape(self._covariance(sums, centre, grid.spacing))
        for name in columns:
            if name not in units and name not in ("label", "eccentricity"):
                units[name] = "deg" if name == "orientation" else unit
        for channel in range(self._channels):
            suffix = channels[channel] if self._channels > 1 else "intensity"
            columns[f"mean_{suffix}"] = sums[-self._channels + channel] / count
            columns[f"std_{suffix}"] = np.sqrt(self._squares[channel, present] / count)
            columns[f"min_{suffix}"] = self._low[channel, present]
            columns[f"max_{suffix}"] = self._high[channel, present]
        return Table(columns, units)

    def _covariance(self, sums: np.ndarray, centre: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
        """Second central moments over the count, in units, shape (n, dims, dims)."""
        dims = self._dims
        result = np.zeros((sums.shape[1], dims, dims))
        row = 1 + dims
        for a in range(dims):
            for b in range(a, dims):
                moment = sums[row] / sums[0] - centre[a] * centre[b]
                result[:, a, b] = result[:, b, a] = moment * spacing[a] * spacing[b]
                row += 1
        return result


def _shape(covariance: np.ndarray) -> dict[str, np.ndarray]:
    """Axes of the ellipse or ellipsoid with these second moments."""
    dims = covariance.shape[-1]
    spread = np.linalg.eigvalsh(covariance).clip(min=0)  # ascending
    factor = 4.0 if dims == 2 else 2 * math.sqrt(5)
    columns = {"major_axis": factor * np.sqrt(spread[:, -1]), "minor_axis": factor * np.sqrt(spread[:, 0])}
    if dims == 2:
        ratio = np.divide(spread[:, 0], spread[:, 1], out=np.ones(len(spread)), where=spread[:, 1] > 0)
        columns["eccentricity"] = np.sqrt(1 - ratio)
        yy, xx, yx = covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1]
        columns["orientation"] = np.rad2deg(0.5 * np.arctan2(2 * yx, yy - xx))
    return columns
