"""Arrays whose pixels stay in the file until they are asked for.

All have ``shape``, ``dtype`` and slicing with integers, slices and ``...``, as the engine asks
(:class:`deepbio.image.ArrayLike`); what comes back from a slice is a numpy array in the byte order
of the machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from operator import index as as_index
from typing import Any

import numpy as np

from deepbio.errors import ImageError
from deepbio.image import ArrayLike

__all__ = ["Deferred", "FileArray", "OpaqueColour", "iter_blocks"]

BLOCK = 16 * 2**20  # bytes that a pass over an image holds at a time


class FileArray(ABC):
    """An array in a file. A subclass says how a block is read.

    Parameters
    ----------
    shape : tuple of int
        Size along each axis.
    dtype : dtype
        Type of the pixels, kept in native byte order.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype).newbyteorder("=")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @abstractmethod
    def _read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        """Read a block that lies inside; returns shape ``stop - start``."""

    def __getitem__(self, key: Any, /) -> np.ndarray:
        start, stop, pick = _as_block(key, self.shape)
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            return np.empty([max(b - a, 0) for a, b in zip(start, stop, strict=True)], self.dtype)[pick]
        return self._read(start, stop)[pick]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("The pixels are in a file: they cannot be had without a copy.")
        return np.asarray(self[...], dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {self.dtype}>"


def _as_block(key: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Any, ...]]:
    """Turn an index into the block that covers it and the index into that block."""
    keys = key if isinstance(key, tuple) else (key,)
    if sum(k is Ellipsis for k in keys) > 1 or len([k for k in keys if k is not Ellipsis]) > len(shape):
        raise IndexError(f"The index {key!r} does not fit an array of shape {shape}.")
    missing = (slice(None),) * (len(shape) - len([k for k in keys if k is not Ellipsis]))
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys = keys[:at] + missing + keys[at + 1 :]
    starts, stops = [], []
    pick: list[Any] = []
    for k, size in zip(keys, shape, strict=True):
        if isinstance(k, slice):
            indices = range(size)[k]
            low, high = (min(indices), max(indices) + 1) if indices else (0, 0)
            flip = len(indices) > 0 and indices.step < 0
            pick.append(
                slice(None, None, indices.step) if indices and (flip or indices.step > 1) else slice(None)
            )
        else:
            low = range(size)[as_index(k)]  # raises IndexError outside
            high = low + 1
            pick.append(0)
        starts.append(low)
        stops.append(high)
    return tuple(starts), tuple(stops), tuple(pick)


class Deferred(FileArray):
    """An array that is read whole, at the first access: for formats that cannot be read in parts.

    Parameters
    ----------
    shape, dtype
        As the file's header says.
    load : callable
        Returns the pixels.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, load: Callable[[], np.ndarray]) -> None:
        super().__init__(shape, dtype)
        self._load = load
        self._pixels: np.ndarray | None = None

    def _read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        if self._pixels is None:
            pixels = self._load()
            if pixels.shape != self.shape:
                raise ImageError(
                    f"The file's header says shape {self.shape}, its pixels have {pixels.shape}."
                )
            self._pixels = pixels
        return self._pixels[tuple(map(slice, start, stop))]


class OpaqueColour(FileArray):
    """Red, green and blue of an image whose alpha channel must be opaque wherever it is read.

    Parameters
    ----------
    array : array-like
        Pixels with alpha last along `axis`.
    axis : int
        The channel axis.
    name : str
        The file, for the error message.
    """

    def __init__(self, array: ArrayLike, axis: int, name: str) -> None:
        shape = list(array.shape)
        shape[axis] -= 1
        super().__init__(tuple(shape), array.dtype)
        self._array = array
        self._axis = axis
        self._name = name

    def _read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        key: list[Any] = list(map(slice, start, stop))
        key[self._axis] = slice(None)
        block = np.asarray(self._array[tuple(key)])
        alpha = block.take(-1, axis=self._axis)
        opaque = np.iinfo(self.dtype).max if self.dtype.kind in "iu" else 1
        if (alpha != opaque).any():
            raise ImageError(
                f"'{self._name}' has transparent pixels; expected an opaque image.",
                "Flatten it on a background in the program that made it.",
            )
        pick: list[Any] = [slice(None)] * block.ndim
        pick[self._axis] = slice(start[self._axis], stop[self._axis])
        return block[tuple(pick)]


def iter_blocks(array: ArrayLike, order: tuple[int, ...] = (), rows: int = 1) -> Iterator[np.ndarray]:
    """Walk over an array plane by plane, in bands of rows, without holding more than about 16 MB.

    Parameters
    ----------
    array : array-like, shape (..., y, x)
        Pixels.
    order : tuple of int, optional
        The leading axes from the slowest to the fastest; by default as they stand.
    rows : int
        The rows of a band are a multiple of this, but for the last band of a plane.

    Yields
    ------
    ndarray, shape (rows, x)
        Bands of one plane each, from top to bottom, planes in the given order.

    Examples
    --------
    >>> [block.tolist() for block in iter_blocks(np.arange(8).reshape(2, 2, 1, 2), (1, 0))]
    [[[0, 1]], [[4, 5]], [[2, 3]], [[6, 7]]]
    """
    order = order or tuple(range(len(array.shape) - 2))
    height, width = array.shape[-2:]
    rows *= max(1, BLOCK // max(1, rows * width * np.dtype(array.dtype).itemsize))
    for position in np.ndindex(*(array.shape[axis] for axis in order)):
        at = dict(zip(order, position, strict=True))
        plane = tuple(at[axis] for axis in range(len(order)))
        for top in range(0, height, rows):
            yield np.asarray(array[(*plane, slice(top, min(top + rows, height)), slice(None))])
