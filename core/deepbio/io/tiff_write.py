"""Writing TIFF: hyperstacks that ImageJ opens with calibration, and OME-TIFF.

What ImageJ 1.53t reads was tried file by file (`tests/core/io/test_imagej.py` repeats it): classic
TIFF in strips, uncompressed or deflated, of 8 and 16 bits, of floats, and of 32-bit integers of
either sign, which it turns into floats, exact up to 16,777,216. It does not open BigTIFF, tiles,
64-bit or 16-bit floats or zstd, and it opens deflated files with a predictor with wrong values.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from deepbio.errors import OutputError
from deepbio.image import Grid, Image, LabelMap, Table
from deepbio.io.arrays import BLOCK, iter_blocks
from deepbio.io.labels import label_type
from deepbio.io.lut import label_colours
from deepbio.io.tiff_meta import OURS

__all__ = ["write"]

CLASSIC = 2**32 - 2**24  # bytes that fit a classic TIFF, with room for its tags
STRIP = 2**20  # bytes of a strip before it is compressed
LEVEL = 6  # of deflate
WORKERS = 4  # threads that deflate
_IMAGEJ = {
    "b": "uint8",
    "i1": "int16",
    "f2": "float32",
    "f8": "float32",
}  # types ImageJ lacks -> what holds them
_IMAGEJ_UNIT = {"micrometer": "\\u00B5m", "millimeter": "mm"}  # spelled as ImageJ itself does
_OME_UNIT = {"micrometer": "µm", "millimeter": "mm", "pixel": "pixel"}


def write(path: Path, item: Image | LabelMap | Table) -> None:
    """Write an image or a label map, in parts, as OME-TIFF if the name ends in .ome.tif or .ome.tiff.

    Images are not compressed, so that they can be memory-mapped; label maps are deflated. Types
    that ImageJ does not have become the next one that it has (bool: uint8, int8: int16, float16
    and float64: float32, 64-bit integers: 32 bits if the values allow it). Above 4 GB the file is
    a BigTIFF, which Fiji opens through Bio-Formats.

    ImageJ shows label maps in a table of 256 far-apart colours over the range 0 to the largest
    label, so where that is above 255, neighbours in number may share a colour and the lowest
    ones may look black; the values are exact.

    An oriented grid and the names of labels are kept in an entry of our own, which ImageJ ignores.

    Raises
    ------
    OutputError
        If a value does not fit the type.
    """
    if isinstance(item, Table):
        raise OutputError(f"'{path}': expected an image or a label map, found a table.")
    is_ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    labels = isinstance(item, LabelMap)
    if isinstance(item, LabelMap):
        dtype, highest = label_type(item)
    else:
        dtype, highest = _stored_type(path, item, is_ome), 0
    stored = _stored_axes(item, dtype)
    arguments = _ome_arguments(item, stored) if is_ome else _imagej_arguments(item, stored, highest)
    arguments["photometric"] = "rgb" if stored.endswith("YXC") else "minisblack"
    if labels:
        arguments |= {"compression": "zlib", "rowsperstrip": _rows(item, dtype)}
    needed = int(np.prod(item.shape)) * dtype.itemsize
    if labels and needed > CLASSIC:  # deflated it is likely to fit all the same
        try:
            _save(path, item, stored, dtype, False, arguments)
            return
        except (struct.error, ValueError):  # an offset beyond 32 bits
            path.unlink()
    _save(path, item, stored, dtype, needed > CLASSIC, arguments)


def _save(
    path: Path, item: Image | LabelMap, stored: str, dtype: np.dtype, big: bool, arguments: dict[str, Any]
) -> None:
    shape = tuple(item.array.shape[item.axes.index(axis)] for axis in stored)
    pack = isinstance(item, LabelMap)
    with tifffile.TiffWriter(
        path, bigtiff=big, byteorder="<", ome="axes" in (arguments["metadata"] or ())
    ) as file:
        file.write(_chunks(item, stored, dtype, pack), shape=shape, dtype=dtype, software=False, **arguments)


def _stored_axes(item: Image | LabelMap, dtype: np.dtype) -> str:
    """The order of the axes in the file: ImageJ's TZCYX, with 8-bit colours within the pixel."""
    axes = "".join(axis for axis in "TZCYX" if axis in item.axes)
    if isinstance(item, Image) and item.is_rgb and dtype == np.uint8:
        return axes.replace("C", "") + "C"
    return axes


def _stored_type(path: Path, image: Image, is_ome: bool) -> np.dtype:
    dtype = image.dtype.newbyteorder("=")
    if dtype.kind in "iu" and dtype.itemsize == 8:
        blocks = [(int(block.min()), int(block.max())) for block in iter_blocks(image.array)]
        low, high = min(b[0] for b in blocks), max(b[1] for b in blocks)
        for narrow in (np.uint32, np.int32):
            if np.iinfo(narrow).min <= low and high <= np.iinfo(narrow).max:
                return np.dtype(narrow)
        raise OutputError(
            f"'{path}': TIFF holds integers of 32 bits; found values from {low} to {high}.", "Write floats."
        )
    if is_ome:
        return np.dtype({"b": "uint8", "f2": "float32"}.get(_code(dtype), dtype))
    return np.dtype(_IMAGEJ.get(_code(dtype), dtype))


def _code(dtype: np.dtype) -> str:
    return "b" if dtype.kind == "b" else f"{dtype.kind}{dtype.itemsize}"


def _rows(item: Image | LabelMap, dtype: np.dtype) -> int:
    height, width = item.array.shape[-2:]
    return min(height, max(1, STRIP // (width * dtype.itemsize)))


def _chunks(item: Image | LabelMap, stored: str, dtype: np.dtype, pack: bool) -> Iterator[bytes]:
    """The pixels as the file has them, in pieces; deflated strips if `pack`."""
    if stored.endswith("C"):
        yield from _colour_chunks(item, stored, dtype)
        return
    order = tuple(item.axes.index(axis) for axis in stored[:-2])
    rows = _rows(item, dtype)
    if not pack:
        for block in iter_blocks(item.array, order):
            yield _cast(block, dtype).tobytes()
        return

    def deflate(strip: np.ndarray) -> bytes:
        return bytes(imagecodecs.deflate_encode(strip.tobytes(), LEVEL))

    with ThreadPoolExecutor(WORKERS) as pool:
        for block in iter_blocks(item.array, order, rows):
            pixels = _cast(block, dtype)
            yield from pool.map(deflate, [pixels[top : top + rows] for top in range(0, len(pixels), rows)])


def _colour_chunks(item: Image | LabelMap, stored: str, dtype: np.dtype) -> Iterator[bytes]:
    outer = [axis for axis in stored if axis in "TZ"]
    sizes = [item.array.shape[item.axes.index(axis)] for axis in outer]
    height, width = item.array.shape[-2:]
    rows = max(1, BLOCK // (width * 3))
    for position in np.ndindex(*sizes):
        at = dict(zip(outer, position, strict=True))
        for top in range(0, height, rows):
            key = tuple(
                at.get(axis, slice(top, top + rows) if axis == "Y" else slice(None)) for axis in item.axes
            )
            yield np.moveaxis(np.asarray(item.array[key], dtype), 0, -1).tobytes()


def _cast(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        result = block.astype(dtype)
    if (
        dtype == np.float32
        and block.dtype == np.float64
        and np.isinf(result).any()
        and not np.isinf(block).any()
    ):
        raise OutputError(
            f"Values up to {np.abs(block).max():g} do not fit 32-bit floats, which ImageJ has.",
            "Write .ome.tif.",
        )
    return result


def _imagej_arguments(item: Image | LabelMap, stored: str, highest: int) -> dict[str, Any]:
    """Description, tags and resolution as ImageJ writes them."""
    sizes = {axis: item.array.shape[item.axes.index(axis)] for axis in stored}
    is_colour = stored.endswith("YXC")
    channels = 1 if is_colour else sizes.get("C", 1)
    slices, frames = sizes.get("Z", 1), sizes.get("T", 1)
    lines: dict[str, Any] = {"ImageJ": "1.53t", "images": channels * slices * frames}
    lines |= {key: n for key, n in (("channels", channels), ("slices", slices), ("frames", frames)) if n > 1}
    if channels > 1 or frames > 1:
        lines["hyperstack"] = "true"
    if channels > 1:
        lines["mode"] = "composite"
    lines |= _imagej_calibration(item)
    if isinstance(item, LabelMap):
        lines |= {"min": "0.0", "max": float(max(highest, 1))}
    ours = _ours(item, is_ome=False)
    if ours:
        lines[OURS] = json.dumps(ours, separators=(",", ":"))
    grid = item.grid
    return {
        "description": "".join(f"{key}={value}\n" for key, value in lines.items()),
        "metadata": None,
        "resolution": (_rational(1 / grid.spacing[-1]), _rational(1 / grid.spacing[-2])),
        "resolutionunit": "none",
        "extratags": _imagej_tags(item, channels, slices * frames),
    }


def _imagej_calibration(item: Image | LabelMap) -> dict[str, Any]:
    grid = item.grid
    lines: dict[str, Any] = {}
    if grid.unit != "pixel" or any(s != 1 for s in grid.spacing):
        lines["unit"] = _IMAGEJ_UNIT.get(grid.unit, "pixel")
    if grid.ndim == 3:
        lines["spacing"] = repr(grid.spacing[0])
    for axis, origin, spacing in zip("xyz", grid.origin, grid.spacing[::-1], strict=False):
        if origin:
            lines[f"{axis}origin"] = repr(-origin / spacing)  # ImageJ: the pixel where the world has its zero
    if item.frame_interval:
        lines["finterval"] = repr(float(item.frame_interval))
    lines["loop"] = "false"
    return lines


def _imagej_tags(item: Image | LabelMap, channels: int, planes: int) -> list[tuple[Any, ...]]:
    """Colours of labels, and names of channels as ImageJ has them: as the labels of slices."""
    if isinstance(item, LabelMap):
        colours = label_colours().astype(np.uint16) * 257
        return [
            (320, "H", colours.size, tuple(colours.ravel().tolist()), True)
        ]  # ColorMap, as ImageJ does for 16 bits
    if channels > 1 and item.channels:
        tags = tifffile.tifffile.imagej_metadata_tag({"Labels": list(item.channels) * planes}, "<")
        return list(tags)
    return []


def _ome_arguments(item: Image | LabelMap, stored: str) -> dict[str, Any]:
    """Metadata from which tifffile makes the OME-XML."""
    grid = item.grid
    metadata: dict[str, Any] = {"axes": stored[:-1] + "S" if stored.endswith("YXC") else stored}
    for axis, spacing in zip("XYZ", grid.spacing[::-1], strict=False):
        metadata |= {f"PhysicalSize{axis}": spacing, f"PhysicalSize{axis}Unit": _OME_UNIT[grid.unit]}
    if item.frame_interval:
        metadata |= {"TimeIncrement": item.frame_interval, "TimeIncrementUnit": "s"}
    if isinstance(item, Image) and item.channels and stored.find("C") == len(stored) - 3:
        metadata["Channel"] = {"Name": list(item.channels)}
    ours = _ours(item, is_ome=True)
    if ours:
        metadata["MapAnnotation"] = {OURS: json.dumps(ours, separators=(",", ":"))}
    return {"metadata": metadata}


def _ours(item: Image | LabelMap, *, is_ome: bool) -> dict[str, Any]:
    """What the format has no word for."""
    grid: Grid = item.grid
    ours: dict[str, Any] = {}
    if not np.array_equal(grid.direction, np.eye(grid.ndim)[:, ::-1]):
        ours["direction"] = grid.direction.tolist()
    if is_ome and any(grid.origin):
        ours["origin"] = list(grid.origin)
    if isinstance(item, LabelMap) and item.names:
        ours["labels"] = {str(label): name for label, name in item.names.items()}
    return ours


def _rational(value: float) -> tuple[int, int]:
    """The nearest fraction of two 32-bit integers.

    Examples
    --------
    >>> _rational(1 / 0.8)
    (5, 4)
    """
    limit = 2**32 - 1
    fraction = Fraction(value).limit_denominator(max(1, min(limit, int(limit / max(value, 1)))))
    if not 0 < fraction.numerator <= limit:
        raise OutputError(f"A spacing of {1 / value:g} does not fit a TIFF.", "Use another unit.")
    return fraction.numerator, fraction.denominator
