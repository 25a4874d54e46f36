"""The pixels of an ImagePlus as an array that is read plane by plane."""

from __future__ import annotations

from collections import OrderedDict
from itertools import product
from typing import Any

import numpy as np

from deepbio.errors import ImageError
from imagej_bridge.java import to_numpy

__all__ = ["StackPixels"]

GRAY8, GRAY16, GRAY32, COLOR_256, COLOR_RGB = range(5)  # ij.ImagePlus's types
_TYPES: dict[int, type] = {
    GRAY8: np.uint8,
    GRAY16: np.uint16,
    GRAY32: np.float32,
    COLOR_256: np.uint8,
    COLOR_RGB: np.int32,
}
_KEPT = 4  # planes of a virtual stack that stay decoded: those of the channels of one slice


class StackPixels:
    """An array-like over the stack of an ImagePlus; what is sliced is read, nothing else.

    So a virtual stack is never loaded whole. Axes are those of "TCZYX" that have more than one
    element, and YX; the three channels of an RGB image are C.

    Parameters
    ----------
    image : ij.ImagePlus
        Of any type.
    frames, slices : range
        Which, counted from 0.

    Attributes
    ----------
    axes : str
        Names of the axes.
    shape : tuple of int
        Size along each.
    dtype : numpy.dtype
        uint8, uint16, float32; int16 for ImageJ's "signed 16-bit"; float32 where the image has a
        calibration of its grey values (such as Hounsfield units), which is applied.

    Raises
    ------
    ImageError
        If an RGB image also has channels.
    """

    def __init__(self, image: Any, frames: range, slices: range) -> None:
        self._stack = image.getStack()
        self._channels = int(image.getNChannels())
        self._depth = int(image.getNSlices())
        self._type = int(image.getType())
        self._rgb = self._type == COLOR_RGB
        if self._rgb and self._channels > 1:
            raise ImageError(
                f"The image is RGB and has {self._channels} channels; expected one of both.",
                "Split it with Image > Color > Split Channels.",
            )
        self._virtual = bool(self._stack.isVirtual())
        self._table, self._signed = _grey_values(image, self._type)
        sizes = {"T": len(frames), "C": 3 if self._rgb else self._channels, "Z": len(slices)}
        self.axes = "".join(axis for axis, size in sizes.items() if size > 1) + "YX"
        plane = (int(image.getHeight()), int(image.getWidth()))
        self._leading = {axis: size for axis, size in sizes.items() if size > 1}
        self._first = {"T": frames.start, "C": 0, "Z": slices.start}
        self.shape = (*self._leading.values(), *plane)
        self.dtype = np.dtype(self._out_type())
        self._plane_shape = plane
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()

    def _out_type(self) -> type:
        if self._signed:
            return np.int16
        if self._table is not None:
            return np.float32
        return np.uint8 if self._rgb else _TYPES[self._type]

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = self._spelt(key)
        leading, (rows, columns) = keys[:-2], keys[-2:]
        sizes = self.shape[:-2]
        picked = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(sizes, leading, strict=True)]
        kept = [len(p) for p, k in zip(picked, leading, strict=True) if not isinstance(k, int | np.integer)]
        result: np.ndarray | None = None
        where = list(product(*picked))
        for number, position in enumerate(where):
            part = self._plane(position)[rows, columns]
            if result is None:
                result = np.empty((len(where), *np.shape(part)), self.dtype)
            result[number] = part
        if result is None:
            part = np.empty(self._plane_shape, self.dtype)[rows, columns]
            result = np.empty((0, *np.shape(part)), self.dtype)
        return result.reshape((*kept, *result.shape[1:]))

    def _spelt(self, key: Any) -> list[Any]:
        """One key for each axis."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(k is Ellipsis for k in keys):
            at = next(i for i, k in enumerate(keys) if k is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (len(self.shape) - len(keys) + 1)
        return keys + [slice(None)] * (len(self.shape) - len(keys))

    def _plane(self, position: tuple[int, ...]) -> np.ndarray:
        at = dict(self._first)
        for axis, index in zip(self._leading, position, strict=True):
            at[axis] += int(index)
        channel = 0 if self._rgb else at["C"]
        number = 1 + channel + self._channels * (at["Z"] + self._depth * at["T"])
        stored = self._stored(number)
        if self._rgb:
            return (stored >> (16 - 8 * at["C"])).astype(np.uint8)
        if self._signed:  # stored with 32768 added
            return (stored ^ np.uint16(0x8000)).view(np.int16)
        return stored if self._table is None else self._table[stored]

    def _stored(self, number: int) -> np.ndarray:
        """A plane as ImageJ stores it, counted from 1."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        stored = to_numpy(self._stack.getPixels(number), _TYPES[self._type]).reshape(self._plane_shape)
        if self._virtual:  # would be read from the file again
            while len(self._cache) >= _KEPT:
                self._cache.popitem(last=False)
            self._cache[number] = stored
        return stored


def _grey_values(image: Any, kind: int) -> tuple[np.ndarray | None, bool]:
    """The table of a calibration of grey values, and whether it is that of signed 16-bit images."""
    calibration = image.getCalibration()
    if kind == COLOR_RGB or not calibration.calibrated():
        return None, False
    if kind == GRAY16 and calibration.isSigned16Bit():
        return None, True
    table = calibration.getCTable()
    return (None, False) if table is None else (to_numpy(table, np.float32).copy(), False)
