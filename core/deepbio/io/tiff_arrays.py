"""The pixels of a TIFF, read strip by strip or tile by tile, as they are asked for.

The file is opened for each block and closed after it, so an image can be kept for long, sent to
another process, and read from several threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import tifffile

from deepbio.errors import ImageError
from deepbio.io.arrays import FileArray

__all__ = ["MappedTiff", "PagedTiff", "Plan"]

CACHE = 64 * 2**20  # bytes of unpacked strips and tiles that are kept, since neighbouring blocks share them
WORKERS = 4  # threads that unpack


@dataclass(frozen=True)
class Plan:
    """How the axes of an image lie in a file.

    Attributes
    ----------
    path : Path
        The file.
    axes : str
        Axes of the image, in our order.
    shape : tuple of int
        Its size along them.
    stored : str
        The same letters in the order of the file. Before the page: pages, slowest first.
    page : str
        Those of them that lie within a page: ``"YX"``, ``"YXC"`` or ``"CYX"``.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    stored: str
    page: str

    def size(self, axis: str) -> int:
        """Size along an axis."""
        return self.shape[self.axes.index(axis)]


class MappedTiff(FileArray):
    """Uncompressed pixels in one run, read through a memory map that lives as long as a block takes."""

    def __init__(self, plan: Plan, dtype: Any, byteorder: str, offset: int) -> None:
        super().__init__(plan.shape, dtype)
        self._plan = plan
        self._stored_dtype = np.dtype(dtype).newbyteorder(byteorder)
        self._offset = offset

    def _read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        plan = self._plan
        shape = tuple(plan.size(axis) for axis in plan.stored)
        try:
            pixels = np.memmap(plan.path, self._stored_dtype, "r", self._offset, shape)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"'{plan.path}' cannot be read: it was moved, changed or cut off ({error})."
            ) from error
        view = pixels.transpose([plan.stored.index(axis) for axis in plan.axes])
        return np.array(view[tuple(map(slice, start, stop))], dtype=self.dtype, order="C")


class _Job(NamedTuple):
    """A strip or tile: which one, where it begins in its plane, and where its page goes in the block."""

    page: int
    number: int
    plane: int
    top: int
    left: int
    place: Mapping[str, int]


class PagedTiff(FileArray):
    """Pixels in strips or tiles, compressed or not; the unpacked ones are kept for a while.

    Parameters
    ----------
    plan : Plan
        The axes.
    pages : sequence of tifffile pages
        In the order of the plan's pages.
    keyframe : tifffile.TiffPage
        The page that says how all are encoded.
    """

    def __init__(self, plan: Plan, pages: Sequence[Any], keyframe: tifffile.TiffPage) -> None:
        super().__init__(plan.shape, keyframe.dtype)
        self._plan = plan
        self._segments = [(page.dataoffsets, page.databytecounts, page.jpegtables) for page in pages]
        self._unpack = keyframe.decode  # also learns here, while the file is open, what it needs of it
        self._jpegheader = keyframe.jpegheader
        self._packed = keyframe.compression != 1
        self._planar = plan.page == "CYX"
        height, width = keyframe.imagelength, keyframe.imagewidth
        tile = (
            (keyframe.tilelength, keyframe.tilewidth) if keyframe.is_tiled else (keyframe.rowsperstrip, width)
        )
        self._tile = (max(1, min(tile[0], height) if not keyframe.is_tiled else tile[0]), max(1, tile[1]))
        self._grid = (-(-height // self._tile[0]), -(-width // self._tile[1]))
        self._cache: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._cached = 0
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("A compressed TIFF that is read in parts cannot be pickled; send its path.")

    def _read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        result = np.empty([b - a for a, b in zip(start, stop, strict=True)], self.dtype)
        first, last = (
            dict(zip(self._plan.axes, start, strict=True)),
            dict(zip(self._plan.axes, stop, strict=True)),
        )
        jobs = self._jobs(first, last)
        try:
            with self._plan.path.open("rb") as file:

                def place(job: _Job) -> None:
                    self._place(result, self._segment(file, job.page, job.number), job, first, last)

                if not self._packed:
                    for job in jobs:
                        place(job)
                    return result
                with ThreadPoolExecutor(WORKERS) as pool:
                    while some := list(islice(jobs, 256)):  # a pool takes all it is given at once
                        for _ in pool.map(place, some):
                            pass
        except OSError as error:
            raise ImageError(f"'{self._plan.path}' cannot be read: {error.strerror or error}.") from error
        return result

    def _jobs(self, first: Mapping[str, int], last: Mapping[str, int]) -> Iterator[_Job]:
        """The strips or tiles that a block needs, page by page."""
        plan = self._plan
        (height, width), columns = self._tile, self._grid[1]
        outer = [axis for axis in plan.stored if axis not in plan.page]
        sizes = [plan.size(axis) for axis in outer]
        planes = range(first["C"], last["C"]) if self._planar else (0,)
        for position in np.ndindex(*(last[axis] - first[axis] for axis in outer)):
            at = [first[axis] + n for axis, n in zip(outer, position, strict=True)]
            page = int(np.ravel_multi_index(at, sizes)) if outer else 0
            place = dict(zip(outer, position, strict=True))
            for plane in planes:
                for row in range(first["Y"] // height, (last["Y"] - 1) // height + 1):
                    for column in range(first["X"] // width, (last["X"] - 1) // width + 1):
                        index = (plane * self._grid[0] + row) * columns + column
                        yield _Job(page, index, plane, row * height, column * width, place)

    def _place(
        self,
        result: np.ndarray,
        segment: np.ndarray,
        job: _Job,
        first: Mapping[str, int],
        last: Mapping[str, int],
    ) -> None:
        """Copy what a strip or tile, of shape (rows, columns, samples), shares with the block."""
        top, bottom = max(first["Y"], job.top), min(last["Y"], job.top + segment.shape[0])
        left, right = max(first["X"], job.left), min(last["X"], job.left + segment.shape[1])
        part = segment[top - job.top : bottom - job.top, left - job.left : right - job.left]
        where: dict[str, Any] = {
            **job.place,
            "Y": slice(top - first["Y"], bottom - first["Y"]),
            "X": slice(left - first["X"], right - first["X"]),
        }
        if self._planar:
            where["C"] = job.plane - first["C"]
        if "C" in self._plan.page and not self._planar:
            where["C"] = slice(None)
            part = np.moveaxis(part[..., first["C"] : last["C"]], -1, 0)
        else:
            part = part[..., 0]
        result[tuple(where[axis] for axis in self._plan.axes)] = part

    def _segment(self, file: Any, number: int, index: int) -> np.ndarray:
        """Unpack a strip or tile; returns (rows, columns, samples), cut to the image."""
        with self._lock:
            if (number, index) in self._cache:
                self._cache.move_to_end((number, index))
                return self._cache[number, index]
            offsets, counts, tables = self._segments[number]
            file.seek(offsets[index])
            data = file.read(counts[index])
        if len(data) < counts[index]:
            raise ImageError(
                f"'{self._plan.path}' is cut off: page {number + 1} ends too early.",
                "Copy or export it again.",
            )
        try:
            found, position, shape = self._unpack(data, index, jpegtables=tables, jpegheader=self._jpegheader)
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            raise ImageError(
                f"'{self._plan.path}' is damaged or not supported: part {index + 1} of page {number + 1} "
                f"cannot be unpacked ({error}).",
                "Export or copy it again.",
            ) from error
        if found is None or position[1]:
            raise ImageError(
                f"'{self._plan.path}' lacks pixels: part {index + 1} of page {number + 1} is not stored."
            )
        segment = np.asarray(found, self.dtype)[0, : shape[1], : shape[2]]
        with self._lock:
            self._keep((number, index), segment)
        return segment

    def _keep(self, key: tuple[int, int], segment: np.ndarray) -> None:
        if key not in self._cache:
            self._cache[key] = segment
            self._cached += segment.nbytes
        while self._cached > CACHE and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
