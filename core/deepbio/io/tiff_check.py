"""Whether a TIFF is whole: tifffile reads what is left of a broken one, and says so in its log at most."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deepbio.errors import ImageError

__all__ = ["check_directories", "check_segments"]

_AGAIN = "Copy or export it again."
_SIZES = np.array(
    [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8]
)  # bytes of a value of each TIFF type


def check_directories(path: Path) -> None:
    """Follow the chain of pages to its end, and check that what their tags point to lies in the file.

    Raises
    ------
    ImageError
        If the file ends before that, or the chain runs in a circle.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return  # tifffile says what is wrong with it
        big = struct.unpack(order + "H", head[2:4])[0] == 43
        if big and len(head) < 16:
            return
        offset = (
            struct.unpack(order + "Q", head[8:16])[0] if big else struct.unpack(order + "I", head[4:8])[0]
        )
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise ImageError(f"'{path}' is damaged: its pages run in a circle.", _AGAIN)
            seen.add(offset)
            following = _directory(file, offset, order, big, size) if offset < size else None
            if following is None:
                raise ImageError(
                    f"'{path}' is cut off: page {len(seen)} is promised, but not whole ({size} bytes).",
                    _AGAIN,
                )
            offset = following


def _directory(file: BinaryIO, offset: int, order: str, big: bool, size: int) -> int | None:
    """Read a page's directory; returns where the next one is, or None if this one is not whole."""
    counter, word = ("Q", "u8") if big else ("H", "u4")
    entry = np.dtype(
        [("code", order + "u2"), ("type", order + "u2"), ("count", order + word), ("value", order + word)]
    )
    file.seek(offset)
    start = file.read(struct.calcsize(counter))
    if len(start) < struct.calcsize(counter):
        return None
    number = struct.unpack(order + counter, start)[0]
    if offset + number * entry.itemsize > size:
        return None
    data = file.read(number * entry.itemsize)
    link = file.read(8 if big else 4)
    if len(data) < number * entry.itemsize or len(link) < (8 if big else 4):
        return None
    entries = np.frombuffer(data, entry)
    kinds = np.where(entries["type"] < len(_SIZES), entries["type"], 0)
    needed = _SIZES[kinds] * entries["count"].astype(np.int64)
    outside = needed > (8 if big else 4)  # shorter values stand in the entry itself
    if (entries["value"][outside].astype(np.int64) + needed[outside] > size).any():
        return None
    return int(struct.unpack(order + ("Q" if big else "I"), link)[0])


def check_segments(path: Path, series: Any, size: int) -> None:
    """Check that all pages of a series are there, and that all their strips or tiles lie in the file.

    Parameters
    ----------
    path : Path
        The file.
    series : tifffile.TiffPageSeries
        The image in it.
    size : int
        Bytes of the file.

    Raises
    ------
    ImageError
        If pages or pixels are missing: they would be read as zeros.
    """
    page = series.keyframe
    if 0 in series.shape:
        raise ImageError(f"'{path}' is empty: its shape is {series.shape}.", "Export it again.")
    if series.dataoffset is not None:
        if series.dataoffset + series.nbytes > size:
            raise ImageError(
                f"'{path}' is cut off: it has {size} bytes, its pixels alone need {series.nbytes}.", _AGAIN
            )
        return
    expected = int(np.prod(series.shape)) // int(np.prod(page.shape))
    found = len([one for one in series.pages if one is not None])
    if found != expected:
        raise ImageError(f"'{path}' lacks pages: {expected} are promised, {found} are there.", _AGAIN)
    needed = int(np.prod(page.chunked))
    for number, one in enumerate(series.pages, start=1):
        offsets, counts = np.asarray(one.dataoffsets, np.int64), np.asarray(one.databytecounts, np.int64)
        if len(offsets) < needed or len(counts) < needed or (offsets <= 0).any() or (counts <= 0).any():
            raise ImageError(f"'{path}' lacks pixels: parts of page {number} are not stored.", _AGAIN)
        if (offsets + counts).max() > size:
            raise ImageError(
                f"'{path}' is cut off: page {number} goes on beyond the end of the file.", _AGAIN
            )
