"""TIFF: ImageJ hyperstacks, OME-TIFF, colour and plain ones; 8 to 64 bits, either byte order, BigTIFF.

Pixel values are those of the file, as in ImageJ and tifffile: neither a palette nor "white is
zero" is applied to them; the notes say so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from deepbio.errors import ImageError
from deepbio.image import AXES, RGB, Grid, Image
from deepbio.io.arrays import FileArray, OpaqueColour
from deepbio.io.files import first_bytes
from deepbio.io.tiff_arrays import MappedTiff, PagedTiff, Plan
from deepbio.io.tiff_check import check_directories, check_segments
from deepbio.io.tiff_meta import Facts, imagej_facts, map_axes, ome_facts, plain_facts, resolution_of
from deepbio.io.tiff_write import write

__all__ = ["read", "write"]

_ALPHA = (1, 2)  # ExtraSamples: with colours multiplied by it, or not
_PHOTOMETRIC = {0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 6: "YCbCr"}
_HARMLESS = (
    "TiffTag",
    "incorrect Strip",
    "GDAL_NODATA",
    "apply subsampling",
)  # in tifffile's log: others' slips
_AGAIN = "Copy or export it again."


def read(path: Path, *, lazy: bool, labels: bool) -> Image:
    """Read the first image of a TIFF, of a pyramid the largest level.

    Raises
    ------
    ImageError
        If it is no TIFF, is cut off, lacks pixels, or has axes or a pixel type that we do not have.
    """
    check_directories(path)
    with _opened(path) as (file, log):
        series = _first_series(path, file)
        if log.errors:
            raise ImageError(f"'{path}' is damaged or cut off: {log.errors[0]}.", _AGAIN)
        check_segments(path, series, file.filehandle.size)
        axes, notes = map_axes(series.axes, series.kind)
        order = tuple(sorted(range(len(axes)), key=lambda i: AXES.index(axes[i])))
        ours = "".join(axes[i] for i in order)
        shape = tuple(series.shape[i] for i in order)
        page = series.keyframe
        notes = (*notes, *_page_notes(page), *_series_notes(file, series), *log.messages)
        facts = _facts(file, series, ours, shape).with_notes(*notes)
        array: Any = _array(path, file, series, Plan(path, ours, shape, axes, _page_axes(page)))
    channels = facts.channels
    is_colour = page.photometric in (2, 6) and "C" in _page_axes(page)
    if (
        is_colour
        and array.shape[ours.index("C")] == 4
        and page.extrasamples
        and page.extrasamples[0] in _ALPHA
    ):
        array = OpaqueColour(array, ours.index("C"), path.name)
    if is_colour and array.shape[ours.index("C")] == 3:
        channels = RGB
    grid = _grid(ours, array.shape, facts)
    if "C" not in ours or len(channels) != array.shape[ours.index("C")]:
        channels = ()
    meta = {**facts.meta, "notes": facts.notes, "compression": _compression(page)}
    return Image(array if lazy else array[...], ours, grid, channels, facts.frame_interval, meta)


class _Log(logging.Filter):
    """Catches what tifffile logs in this thread, so that it becomes an error or a note of ours."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self.errors: list[str] = []
        self.messages: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread or record.levelno < logging.WARNING:
            return record.thread != self._thread
        text = record.getMessage()
        text = text[text.find(">") + 1 :].strip() if text.startswith("<") else text
        wrong = record.levelno >= logging.ERROR or any(
            word in text
            for word in ("corrupted", "zeroed", "out of range", "failed to read", "expected", "missing")
        )
        (self.errors if wrong and not any(word in text for word in _HARMLESS) else self.messages).append(text)
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tifffile.TiffFile, _Log]]:
    log = _Log()
    logger = logging.getLogger("tifffile")
    logger.addFilter(log)
    try:
        with tifffile.TiffFile(path) as file:
            yield file, log
    except tifffile.TiffFileError as error:
        hint = "Check the suffix, or export it again."
        raise ImageError(f"'{path}' is not a TIFF image: {first_bytes(path)} ({error}).", hint) from error
    finally:
        logger.removeFilter(log)


def _first_series(path: Path, file: tifffile.TiffFile) -> Any:
    if not len(file.pages):
        raise ImageError(f"'{path}' has no image: it is cut off before its first page.", _AGAIN)
    series = file.series[0]
    page = series.keyframe
    if page.photometric not in _PHOTOMETRIC:
        name = getattr(page.photometric, "name", page.photometric)
        raise ImageError(
            f"'{path}' has colours of the type {name}; expected grey, RGB or a palette.", "Convert it to RGB."
        )
    if page.dtype is None or page.dtype.kind not in "biuf":
        found = page.dtype or f"{page.bitspersample} bits of format {page.sampleformat}"
        raise ImageError(
            f"'{path}' has pixels of the type {found}; expected integers or floats.", "Save its magnitude."
        )
    if page.imagedepth > 1:
        raise ImageError(
            f"'{path}' has a volume in one page; expected a plane a page.", "Save it as an ImageJ TIFF."
        )
    return series


def _page_axes(page: Any) -> str:
    """Axes within a page, without those of size 1 that tifffile leaves out of a series."""
    return str(page.axes).replace("S", "C")


def _array(path: Path, file: tifffile.TiffFile, series: Any, plan: Plan) -> FileArray:
    if series.dataoffset is not None:
        return MappedTiff(plan, series.dtype, file.byteorder, series.dataoffset)
    return PagedTiff(plan, list(series.pages), series.keyframe)


def _facts(file: tifffile.TiffFile, series: Any, axes: str, shape: tuple[int, ...]) -> Facts:
    page = file.pages.first
    channels = shape[axes.index("C")] if "C" in axes else 1
    if series.kind == "ome" and file.ome_metadata:
        return ome_facts(file.ome_metadata, axes)
    if file.imagej_metadata is not None:
        return imagej_facts(file.imagej_metadata, resolution_of(page), channels)
    shaped = file.shaped_metadata or ({},)
    return plain_facts(page, shaped[0])


def _grid(axes: str, shape: tuple[int, ...], facts: Facts) -> Grid:
    spatial = [axis for axis in axes if axis in "ZYX"]
    names = "".join(spatial).lower()
    sizes = tuple(shape[axes.index(axis)] for axis in spatial)
    spacing = tuple(facts.spacing.get(name, 1.0) for name in names)
    origin = tuple(facts.origin.get(name, 0.0) for name in reversed(names))
    direction = np.eye(len(sizes))[:, ::-1]
    if facts.direction is not None and len(facts.direction) == len(sizes):
        direction = np.asarray(facts.direction, dtype=float)
    return Grid(sizes, spacing, origin, direction, facts.unit)


def _page_notes(page: Any) -> tuple[str, ...]:
    if page.photometric == 0:
        return ("The file shows 0 as white; the values are as stored.",)
    if page.photometric == 3:
        return ("The file shows its values through a colour table; the values are as stored.",)
    return ()


def _series_notes(file: tifffile.TiffFile, series: Any) -> tuple[str, ...]:
    """Tell of images that are not read; of OME-TIFF its XML tells."""
    count = len(file.series)
    if count == 1 or series.kind == "ome":
        return ()
    return (f"The file holds {count} images of different shapes or types; the first is read.",)


def _compression(page: Any) -> str:
    return (
        "none" if page.compression == 1 else str(getattr(page.compression, "name", page.compression)).lower()
    )
