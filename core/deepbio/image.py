"""Images, label maps and tables: pixels that know where they are and what they mean.

Only numpy is needed here. One convention holds everywhere in deepbio:

* arrays are indexed ``(z, y, x)`` or ``(y, x)``; ``shape``, ``spacing`` and the *columns* of
  ``direction`` follow that array order;
* world coordinates are ``(x, y, z)`` or ``(x, y)`` in LPS (as DICOM and ITK); ``origin`` and
  the *rows* of ``direction`` follow that world order;
* so ``world = origin + direction @ (spacing * index)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from deepbio.errors import ImageError

__all__ = ["AXES", "RGB", "ArrayLike", "Grid", "Image", "LabelMap", "Table", "UNITS"]

AXES = "TCZYX"
UNITS = ("pixel", "micrometer", "millimeter")
RGB = ("red", "green", "blue")


class ArrayLike(Protocol):
    """What the engine asks of pixels: numpy, memory-mapped and zarr arrays all have it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the pixels of an image are, without the pixels.

    Parameters
    ----------
    shape : tuple of int
        Size along each spatial axis, in array order ``(z, y, x)`` or ``(y, x)``.
    spacing : tuple of float, optional
        Distance between pixel centres in `unit`, in array order. Default 1.
    origin : tuple of float, optional
        World position ``(x, y[, z])`` of the centre of the first pixel, in `unit`. Default 0.
    direction : array_like, shape (n, n), optional
        Column ``k`` is the unit vector, in world ``(x, y[, z])``, along array axis ``k``. The
        default lays x, y and z of the array along x, y and z of the world.
    unit : {"pixel", "micrometer", "millimeter"}
        Unit of `spacing` and `origin`.

    Raises
    ------
    ImageError
        If the sizes contradict each other, a spacing is not positive, or the direction matrix
        is singular.

    Examples
    --------
    >>> grid = Grid((5, 7, 11), spacing=(1.2, 0.8, 0.5), unit="millimeter")
    >>> grid.to_world((1, 0, 2)).tolist()
    [1.0, 0.0, 1.2]
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    direction: np.ndarray = field(default=None)  # type: ignore[arg-type]
    unit: str = "pixel"

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        ndim = len(shape)
        spacing = tuple(float(s) for s in self.spacing) or (1.0,) * ndim
        origin = tuple(float(o) for o in self.origin) or (0.0,) * ndim
        direction = np.eye(ndim)[:, ::-1] if self.direction is None else self.direction
        direction = np.array(direction, dtype=np.float64)
        direction.setflags(write=False)
        if ndim not in (2, 3):
            raise ImageError(f"A grid has 2 or 3 spatial axes, found {ndim} (shape {shape}).")
        if len(spacing) != ndim or len(origin) != ndim or direction.shape != (ndim, ndim):
            raise ImageError(
                f"The grid's sizes disagree: shape {shape}, spacing {spacing}, origin {origin}, "
                f"direction {direction.shape}; each must have {ndim} entries."
            )
        if not all(np.isfinite(s) and s > 0 for s in spacing):
            raise ImageError(f"The spacing must be positive, found {spacing}.")
        if not np.isfinite(direction).all() or abs(np.linalg.det(direction)) < 1e-6:
            raise ImageError(f"The direction matrix is singular: {direction.tolist()}.")
        if self.unit not in UNITS:
            raise ImageError(f"The unit must be one of {UNITS}, found {self.unit!r}.")
        for name, value in (
            ("shape", shape),
            ("spacing", spacing),
            ("origin", origin),
            ("direction", direction),
        ):
            object.__setattr__(self, name, value)

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.shape)

    def __eq__(self, other: object) -> bool:
        """Same shape and unit, and the same place to 1e-6 of a pixel."""
        if not isinstance(other, Grid):
            return NotImplemented
        if self.shape != other.shape or self.unit != other.unit:
            return False
        step = min(self.spacing)
        return (
            np.allclose(self.spacing, other.spacing, rtol=1e-6, atol=0)
            and np.allclose(self.origin, other.origin, rtol=1e-9, atol=1e-6 * step)
            and np.allclose(self.direction, other.direction, rtol=0, atol=1e-6)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_world(self, index: Sequence[float] | np.ndarray) -> np.ndarray:
        """World position of an index in array order; the last axis holds the coordinates."""
        return np.asarray(self.origin) + (np.asarray(index, dtype=float) * self.spacing) @ self.direction.T

    def to_index(self, world: Sequence[float] | np.ndarray) -> np.ndarray:
        """Index in array order (fractional) of a world position; inverse of `to_world`."""
        offset = np.asarray(world, dtype=float) - self.origin
        return offset @ np.linalg.inv(self.direction).T / self.spacing

    def replace(self, **changes: Any) -> Grid:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


def _checked_axes(axes: str, shape: tuple[int, ...], allowed: str) -> str:
    axes = axes.upper()
    positions = [allowed.find(a) for a in axes]
    if -1 in positions or positions != sorted(set(positions)) or not axes.endswith("YX"):
        raise ImageError(
            f"The axes must be a subset of {allowed!r} in this order, ending in 'YX'; found {axes!r}."
        )
    if len(axes) != len(shape):
        raise ImageError(f"The array of shape {shape} has {len(shape)} axes, but {axes!r} names {len(axes)}.")
    if 0 in shape:
        empty = axes[shape.index(0)]
        raise ImageError(f"The image of shape {shape} is empty: its axis {empty!r} has size 0.")
    return axes


def _checked_grid(grid: Grid | None, axes: str, shape: tuple[int, ...]) -> Grid:
    spatial = tuple(n for a, n in zip(axes, shape, strict=True) if a in "ZYX")
    if grid is None:
        return Grid(spatial)
    if grid.shape != spatial:
        raise ImageError(f"The pixels have spatial shape {spatial}, but the grid has {grid.shape}.")
    return grid


@dataclass(frozen=True, eq=False)
class Image:
    """Intensities on a grid.

    Parameters
    ----------
    array : array-like
        Pixels; anything with ``shape``, ``dtype`` and slicing (numpy, memory map, zarr).
    axes : str
        Names of the array's axes, a subset of ``"TCZYX"`` in this order, ending in ``"YX"``.
    grid : Grid, optional
        Where the pixels are; by default a unit grid in pixels.
    channels : tuple of str, optional
        One name per channel; empty when they have none.
    frame_interval : float, optional
        Seconds between frames.
    meta : dict, optional
        What else the file said (for example ``"source"``); never needed for computing.

    Raises
    ------
    ImageError
        If axes, array, grid and channels contradict each other, or an axis has size 0.

    Examples
    --------
    >>> image = Image(np.zeros((3, 5, 7), np.uint8), "CYX", channels=RGB)
    >>> image.size("C"), image.size("T"), image.is_rgb
    (3, 1, True)
    """

    array: ArrayLike
    axes: str = "YX"
    grid: Grid = None  # type: ignore[assignment]
    channels: tuple[str, ...] = ()
    frame_interval: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(self.array.shape)
        object.__setattr__(self, "axes", _checked_axes(self.axes, shape, AXES))
        object.__setattr__(self, "grid", _checked_grid(self.grid, self.axes, shape))
        object.__setattr__(self, "channels", tuple(self.channels))
        if np.dtype(self.array.dtype).kind not in "biuf":
            raise ImageError(f"Pixels must be integers or floats, found {self.array.dtype}.")
        if self.channels and len(self.channels) != self.size("C"):
            raise ImageError(f"{self.size('C')} channels, but {len(self.channels)} names: {self.channels}.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis of `axes`."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type."""
        return np.dtype(self.array.dtype)

    @property
    def is_rgb(self) -> bool:
        """Whether the three channels are red, green and blue of one colour image."""
        return self.channels == RGB

    def size(self, axis: str) -> int:
        """Size along a named axis; 1 where the image does not have it."""
        return int(self.array.shape[self.axes.index(axis)]) if axis in self.axes else 1

    def take(self, axis: str, index: int | slice) -> Image:
        """Return the part at `index` of a non-spatial axis; an integer drops the axis.

        The pixels of array-likes are sliced, and so read, here.
        """
        if axis not in "TC":
            raise ImageError(f"take() goes along 'T' or 'C', not {axis!r}; use plane() for a slice.")
        if axis not in self.axes:
            if index in (0, -1) or index == slice(None):
                return self
            raise ImageError(f"The image has axes {self.axes!r}: there is no {axis!r} to take {index} of.")
        key = tuple(index if a == axis else slice(None) for a in self.axes)
        axes = self.axes.replace(axis, "") if isinstance(index, int) else self.axes
        channels = self.channels
        if axis == "C" and channels:
            channels = () if isinstance(index, int) else channels[index]
        return replace(self, array=self.array[key], axes=axes, channels=channels)

    def plane(self, z: int) -> Image:
        """Return slice `z` of a stack as a 2D image (in-plane spacing kept)."""
        if "Z" not in self.axes:
            return self
        key = tuple(z if a == "Z" else slice(None) for a in self.axes)
        grid = Grid(self.grid.shape[1:], self.grid.spacing[1:], unit=self.grid.unit)
        return replace(self, array=self.array[key], axes=self.axes.replace("Z", ""), grid=grid)

    def numpy(self) -> np.ndarray:
        """All pixels in memory."""
        return np.asarray(self.array[...])


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Integers on a grid: which object, or which class, each pixel belongs to; 0 is background.

    Parameters
    ----------
    array : array-like of integers
        Labels.
    axes : str
        A subset of ``"TZYX"`` in this order, ending in ``"YX"``.
    grid : Grid, optional
        Where the pixels are.
    names : dict of int to str, optional
        Names of classes; empty for instances.
    frame_interval : float, optional
        Seconds between frames.

    Examples
    --------
    >>> labels = LabelMap(np.array([[0, 2], [2, 9]]))
    >>> labels.count, labels.grid.shape
    (2, (2, 2))
    """

    array: ArrayLike
    axes: str = "YX"
    grid: Grid = None  # type: ignore[assignment]
    names: Mapping[int, str] = field(default_factory=dict)
    frame_interval: float | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.array.shape)
        object.__setattr__(self, "axes", _checked_axes(self.axes, shape, AXES.replace("C", "")))
        object.__setattr__(self, "grid", _checked_grid(self.grid, self.axes, shape))
        if np.dtype(self.array.dtype).kind not in "iu":
            raise ImageError(f"Labels must be integers, found {self.array.dtype}.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis of `axes`."""
        return tuple(self.array.shape)

    @property
    def count(self) -> int:
        """Number of different labels, background not counted."""
        found = np.unique(self.numpy())
        return int(np.count_nonzero(found))

    def numpy(self) -> np.ndarray:
        """All labels in memory."""
        return np.asarray(self.array[...])


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, each with a unit: measurements, class scores, curves.

    Parameters
    ----------
    columns : mapping of str to array_like
        Values by column name, all of one length, in display order.
    units : mapping of str to str, optional
        Unit of a column; a column without an entry has none.

    Examples
    --------
    >>> table = Table({"label": [1, 2], "area": [3.5, 4.0]}, {"area": "um^2"})
    >>> len(table), table["area"].tolist(), table.units["area"]
    (2, [3.5, 4.0], 'um^2')
    """

    columns: Mapping[str, np.ndarray]
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = {name: np.asarray(values) for name, values in self.columns.items()}
        lengths = {name: values.shape for name, values in columns.items()}
        if len(set(lengths.values())) > 1 or any(len(s) != 1 for s in lengths.values()):
            raise ImageError(f"The columns of a table must be 1D and of one length, found {lengths}.")
        unknown = set(self.units) - set(columns)
        if unknown:
            raise ImageError(f"Units are given for columns that do not exist: {sorted(unknown)}.")
        object.__setattr__(self, "columns", columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Rows as tuples of Python values."""
        return zip(*(values.tolist() for values in self.columns.values()), strict=True)

    @staticmethod
    def concatenate(tables: Sequence[Table]) -> Table:
        """Stack tables that have the same columns and units.

        Raises
        ------
        ImageError
            If the columns or units differ, or there is no table.
        """
        if not tables:
            raise ImageError("There is no table to concatenate.")
        first = tables[0]
        for other in tables[1:]:
            if list(other.columns) != list(first.columns) or dict(other.units) != dict(first.units):
                raise ImageError(
                    f"Tables with different columns or units: {list(first.columns)} and {list(other.columns)}."
                )
        stacked = {name: np.concatenate([t[name] for t in tables]) for name in first.columns}
        return Table(stacked, dict(first.units))
