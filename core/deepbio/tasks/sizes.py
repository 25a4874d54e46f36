"""How large objects are in an image, and by how much it is enlarged for its network.

A network knows objects of the sizes that it was trained on. The diameter of an object is that of the
disc (ball) of its area (volume), in pixels along the finest axis of a grid: also in stacks whose
slices are far apart it is what one sees in a slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepbio.engine.slabs import Source
from deepbio.image import Grid
from deepbio.library.spatial import check_sizes

__all__ = ["Estimate", "Sizes", "Window", "WindowSource", "diameters_of", "is_small", "sample_windows"]

_STEP = 0.25  # of zooms: what a measurement moves by a little leaves them as they are
_ZOOM = (0.25, 2.0)  # where a card does not say
_LEAST = 5  # objects whose median is believed
_ENOUGH = 60  # objects after which no more windows are looked at
_WINDOWS = (3, 16)  # least and most of them
_EDGE = {2: 512, 3: 96}  # pixels of a window
_SHARE = 0.25  # of an image's pixels that may be looked at twice
_WHOLE = 2**21  # pixels of an image that is looked at whole; its labels are kept where no zoom is needed
_BAND = 2**22  # labels that are counted at once


@dataclass(frozen=True)
class Sizes:
    """The objects that a network was made for; stands on the card under ``sizes``.

    Attributes
    ----------
    typical : tuple of float
        Smallest and largest median diameter, in pixels of the network's grid, that it takes as it is.
    target : tuple of float
        What smaller diameters, and what larger ones, are brought to; a card without it takes the ends of
        `typical`.
    zoom : tuple of float
        Least and most zoom.
    auto : bool
        Whether the diameter is measured where nobody gives it.
    usual : float
        The diameter, in pixels of the network's grid, where nobody gives it and it is not measured; 0 for none.
    exact : bool
        Whether zooms are what they are and not rounded.

    Examples
    --------
    >>> sizes = Sizes((14.0, 60.0), target=(24.0, 40.0), zoom=(0.25, 2.0))
    >>> [sizes.zoom_for(diameter) for diameter in (8.0, 13.0, 14.0, 60.0, 90.0)]
    [2.0, 1.75, 1.0, 1.0, 0.5]
    """

    typical: tuple[float, float]
    target: tuple[float, float]
    zoom: tuple[float, float] = _ZOOM
    auto: bool = False
    usual: float = 0.0
    exact: bool = False

    @classmethod
    def from_card(cls, entries: Mapping[str, Any] | None) -> Sizes | None:
        """Read the card's entries; None where it has none.

        Raises
        ------
        CardError
            If an entry is unknown, of the wrong type or impossible.
        """
        if not entries:
            return None
        check_sizes(entries)
        typical = entries["typical"]
        return cls(
            _pair(typical),
            _pair(entries.get("target", typical)),
            _pair(entries.get("zoom", _ZOOM)),
            entries.get("auto", False),
            float(entries.get("usual", 0)),
            entries.get("exact", False),
        )

    def zoom_for(self, diameter: float) -> float:
        """How many times finer the grid must be for objects of this diameter: a multiple of 0.25, unless `exact`.

        Parameters
        ----------
        diameter : float
            In pixels of the network's grid.
        """
        low, high = self.typical
        if low <= diameter <= high:
            return 1.0
        goal = self.target[0 if diameter < low else 1]
        zoom = goal / diameter
        if not self.exact:
            zoom = max(_STEP, round(zoom / _STEP) * _STEP)
        return min(max(zoom, self.zoom[0]), self.zoom[1])


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


@dataclass(frozen=True)
class Estimate:
    """What was measured of an image.

    Attributes
    ----------
    diameters : tuple of float
        Of the objects found, in pixels of the image.
    frames : tuple of str
        Names of the frames and slices that were looked at; empty for an image that has only one.
    windows : int
        How many windows were looked at; 0 if the whole image was.
    """

    diameters: tuple[float, ...]
    frames: tuple[str, ...] = ()
    windows: int = 0

    @property
    def enough(self) -> bool:
        """Whether nothing more needs to be looked at."""
        return self.windows >= _WINDOWS[0] and len(self.diameters) >= _ENOUGH

    @property
    def diameter(self) -> float | None:
        """The median, to a tenth of a pixel; None if there are too few objects."""
        if len(self.diameters) < _LEAST:
            return None
        return round(float(np.median(self.diameters)), 1)

    def facts(self) -> dict[str, Any]:
        """What the record says."""
        facts: dict[str, Any] = {"objects": len(self.diameters)}
        if self.windows:
            facts["windows"] = self.windows
        if self.frames:
            facts["frames"] = list(self.frames)
        return facts


@dataclass(frozen=True)
class Window:
    """A part of a frame that is looked at.

    Attributes
    ----------
    frame : int
        Number of the frame.
    start, stop : tuple of int
        First pixel and one past the last, along each axis.
    """

    frame: int
    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    def within(self, shape: Sequence[int]) -> Window:
        """The window moved, and made smaller where need be, to lie in a frame that was cropped."""
        start = tuple(max(min(a, n - e), 0) for a, e, n in zip(self.start, self.shape, shape, strict=True))
        stop = tuple(min(a + e, n) for a, e, n in zip(start, self.shape, shape, strict=True))
        return Window(self.frame, start, stop)


class WindowSource:
    """A window of another source."""

    def __init__(self, source: Source, window: Window) -> None:
        self._source, self._window = source, window
        self.shape = (source.shape[0], *window.shape)

    def read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        """Pixels from `start` up to `stop`, counted from the window's first."""
        moved = [tuple(a + b for a, b in zip(self._window.start, one, strict=True)) for one in (start, stop)]
        return self._source.read(moved[0], moved[1])


def is_small(frames: int, shape: Sequence[int]) -> bool:
    """Whether an image is looked at whole."""
    return frames == 1 and math.prod(shape) <= _WHOLE


def sample_windows(times: int, slices: int, shape: Sequence[int]) -> Iterator[Window]:
    """Windows spread evenly over an image, the middle first; the same however it is tiled.

    They follow the additive recurrence with the generalised golden ratio (Roberts, 2018), which fills
    time, depth and plane alike.

    Parameters
    ----------
    times, slices : int
        Frames are numbered slice by slice, then time by time.
    shape : sequence of int
        Pixels of a frame on the network's grid.

    Examples
    --------
    >>> [window.start for window in sample_windows(1, 1, (2000, 512))]
    [(992, 0)]
    >>> [window.frame for window in sample_windows(20, 1, (64, 64))]
    [10, 2, 14, 7, 19]
    """
    size = [min(_EDGE[len(shape)], n) for n in shape]
    counts = [times, slices, *(-(-n // e) for n, e in zip(shape, size, strict=True))]
    share = _SHARE * times * slices * math.prod(shape) / math.prod(size)
    budget = int(min(max(share, 1), _WINDOWS[1]))
    seen = set()
    for cell in _spread(counts):
        if cell in seen:
            continue
        seen.add(cell)
        start = tuple(
            at * (n - e) // max(count - 1, 1)
            for at, n, e, count in zip(cell[2:], shape, size, counts[2:], strict=True)
        )
        stop = tuple(a + e for a, e in zip(start, size, strict=True))
        yield Window(cell[0] * slices + cell[1], start, stop)
        if len(seen) == budget:
            return


def _spread(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Cells of a lattice, spread evenly, without end."""
    wide = [axis for axis, count in enumerate(counts) if count > 1]
    ratio = 1.0
    for _ in range(64):  # the root of x ** (d + 1) == x + 1
        ratio = (1 + ratio) ** (1 / (len(wide) + 1))
    step = 0
    while True:
        cell = [0] * len(counts)
        for power, axis in enumerate(wide, 1):
            cell[axis] = int((0.5 + step * ratio**-power) % 1 * counts[axis])
        yield tuple(cell)
        step += 1


def diameters_of(labels: Any, grid: Grid, cut: Sequence[tuple[bool, bool]] = ()) -> list[float]:
    """Diameters of objects in pixels of the finest axis.

    Parameters
    ----------
    labels : array-like of int, shape ([z,] y, x)
        Objects; 0 is background.
    grid : Grid
        For the spacing.
    cut : sequence of (bool, bool), optional
        For each axis whether the image goes on before and behind: objects that touch such a side are
        left out, as nobody knows how large they are.

    Examples
    --------
    >>> labels = np.zeros((8, 9), np.int32)
    >>> labels[1:5, 2:6] = 1
    >>> [round(d, 2) for d in diameters_of(labels, Grid((8, 9), (1.0, 0.5), unit="micrometer"))]
    [6.38]
    """
    areas = np.zeros(1, np.int64)
    rows = max(1, _BAND // math.prod(labels.shape[1:]))
    for start in range(0, labels.shape[0], rows):
        band = np.bincount(np.ravel(labels[start : start + rows]), minlength=len(areas))
        band[: len(areas)] += areas
        areas = band
    for axis, sides in enumerate(cut):
        for side, goes_on in zip((0, -1), sides, strict=True):
            if goes_on:
                areas[np.unique(np.take(labels, side, axis=axis))] = 0
    areas = areas[1:][areas[1:] > 0]
    dims = grid.ndim
    factor = 4 / math.pi if dims == 2 else 6 / math.pi
    found = (factor * areas * math.prod(grid.spacing)) ** (1 / dims) / min(grid.spacing)
    return [float(diameter) for diameter in found]
