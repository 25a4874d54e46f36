"""Images made in ImageJ itself, without the code under test."""

from __future__ import annotations

from typing import Any

import numpy as np

SIZES = {"T": 3, "C": 2, "Z": 5, "Y": 7, "X": 11}  # nothing in common
ALL_AXES = ["".join(a for a, on in zip("TCZ", (t, c, z), strict=True) if on) + "YX" for t in (0, 1) for c in (0, 1) for z in (0, 1)]  # fmt: skip
_ARRAYS = {"uint8": "JByte", "uint16": "JShort", "int16": "JShort", "float32": "JFloat", "int32": "JInt"}


def java(name: str) -> Any:
    import jpype

    return jpype.JClass(name)


def plane_of(pixels: np.ndarray) -> Any:
    """A Java array with the bits of a plane, element by element."""
    import jpype

    flat = np.ascontiguousarray(pixels).ravel()
    if flat.dtype == np.int16:  # ImageJ stores signed values with 32768 added
        flat = (flat.astype(np.int32) + 32768).astype(np.uint16)
    signed = flat.view(f"i{flat.itemsize}") if flat.dtype.kind == "u" else flat
    return jpype.JArray(getattr(jpype, _ARRAYS[pixels.dtype.name]))(signed.tolist())


def imageplus(pixels: np.ndarray, axes: str = "YX", title: str = "image", *, rgb: bool = False) -> Any:
    """An ImagePlus, not shown; `axes` is a subset of TCZYX. With `rgb` the pixels are int32."""
    shape = dict(zip(axes, pixels.shape, strict=True))
    full = pixels.reshape([shape.get(axis, 1) for axis in "TCZYX"])
    stack = java("ij.ImageStack")(shape["X"], shape["Y"])
    for volume in full:
        for z in range(full.shape[2]):
            for channel in volume:
                stack.addSlice(None, plane_of(channel[z]))
    image = java("ij.ImagePlus")(title, stack)
    image.setDimensions(*(shape.get(axis, 1) for axis in "CZT"))
    if sum(axis in "TCZ" for axis in axes) > 1 or "C" in axes:
        image.setOpenAsHyperStack(True)
        if "C" in axes:
            image = java("ij.CompositeImage")(image, 1)
    if pixels.dtype == np.int16:
        image.getCalibration().setSigned16BitCalibration()
    return image


def planes(image: Any) -> np.ndarray:
    """The stored pixels of an ImagePlus, shape (planes, y, x), read without the code under test."""
    stack = image.getStack()
    found = [np.array(stack.getPixels(n)[:]) for n in range(1, int(stack.getSize()) + 1)]
    kinds = {0: np.uint8, 1: np.uint16, 2: np.float32, 3: np.uint8, 4: np.int32}
    stored = np.stack(found).astype({2: np.float32}.get(int(image.getType()), np.int64))
    kind = kinds[int(image.getType())]
    return stored.astype(kind).reshape(-1, int(image.getHeight()), int(image.getWidth()))


def spots(axes: str = "YX", title: str = "cells.tif", show: Any = None) -> Any:
    """A shown 16-bit image with two bright spots in each plane, of which one moves with the plane."""
    shape = [dict(SIZES, Y=37, X=53)[axis] for axis in axes]
    pixels = np.full(shape, 100, np.uint16)
    for number, plane in enumerate(pixels.reshape(-1, 37, 53)):
        plane[5:9, 7 + number : 12 + number] = 3000
        plane[20:30, 33:41] = 2000
    image = imageplus(pixels, axes, title)
    if show is None:
        image.show()
    else:
        show(image)
    return image


def titles() -> list[str]:
    """Titles of the images that are open."""
    return [str(title) for title in java("ij.WindowManager").getImageTitles()]


def results() -> Any:
    return java("ij.measure.ResultsTable").getResultsTable()


def column(name: str) -> list[Any]:
    """A column of the Results, numbers or texts."""
    table = results()
    assert table.columnExists(name), [str(one) for one in table.getHeadings()]
    index = int(table.getColumnIndex(name))
    texts = [str(table.getStringValue(index, row)) for row in range(int(table.size()))]
    try:
        return [float(table.getValueAsDouble(index, row)) for row, text in enumerate(texts) if float(text) == float(text)]  # fmt: skip
    except ValueError:
        return texts


def log_lines() -> list[str]:
    text = java("ij.IJ").getLog()
    return [] if text is None else str(text).splitlines()
