"""From an image, a label map or a table to a file: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import DeepBioError, OutputError
from deepbio.image import Grid, Image, LabelMap, Table
from deepbio.io.files import atomic, output_error, temporary_name
from deepbio.io.formats import Format, find_format

__all__ = ["open_labels", "write"]


def write(path: str | Path, item: Image | LabelMap | Table, *, overwrite: bool = True) -> None:
    """Write an image, a label map or a table; the suffix says the format.

    A file appears under its name only when it is complete. Array-likes are written in parts.

    Parameters
    ----------
    path : str or Path
        ``.tif`` is an ImageJ hyperstack, ``.ome.tif`` an OME-TIFF, ``.csv`` a table. See the
        modules of :mod:`deepbio.io` for what each format can hold.
    item : Image, LabelMap or Table
        What to write. Label maps are compressed; they take 16 bits, or 32 where a label is above
        65,535.
    overwrite : bool
        Whether an existing file is replaced.

    Raises
    ------
    OutputError
        If the file cannot be written here, or the format cannot hold this.
    ImageError
        If the suffix is not known or the labels are not 0 and above.
    """
    path = Path(path)
    form = _format_for(path, item)
    with atomic(path, overwrite=overwrite) as temporary:
        _call(form, temporary, path, item)


@contextmanager
def open_labels(
    path: str | Path,
    shape: tuple[int, ...],
    *,
    axes: str = "YX",
    grid: Grid | None = None,
    dtype: Any = np.uint32,
    names: dict[int, str] | None = None,
    frame_interval: float | None = None,
) -> Iterator[np.ndarray]:
    """Make a label map piece by piece that may be larger than memory.

    The labels are gathered in a file beside `path`, uncompressed, of which the system keeps in
    memory what it has room for. When the block ends well, they are written to `path` as
    :func:`write` does, in parts; after an error nothing is left behind.

    Parameters
    ----------
    path : str or Path
        The final file.
    shape : tuple of int
        Size along each axis.
    axes : str
        A subset of ``"TZYX"`` in this order, ending in ``"YX"``.
    grid : Grid, optional
        Where the pixels are.
    dtype : integer dtype
        Type while gathering; the final file takes 16 bits if they suffice.
    names : dict of int to str, optional
        Names of classes.
    frame_interval : float, optional
        Seconds between frames.

    Yields
    ------
    numpy.memmap of `dtype`, shape `shape`
        All background (0), to be filled.

    Raises
    ------
    OutputError
        If there is no space for the gathered labels (checked at the start), or as :func:`write`.

    Examples
    --------
    >>> import tempfile
    >>> from deepbio.io import read_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_labels(Path(folder, "labels.tif"), (7, 11)) as labels:
    ...         labels[2:4, 5:9] = 1
    ...     read_labels(Path(folder, "labels.tif")).count
    1
    """
    path = Path(path)
    empty = np.broadcast_to(
        np.zeros((), dtype), shape
    )  # takes no memory, and says at once what is wrong with axes and grid
    plan = LabelMap(empty, axes, grid or LabelMap(empty, axes).grid, names or {}, frame_interval)
    form = _format_for(path, plan)
    with atomic(path) as final, _scratch(path, shape, np.dtype(dtype)) as pixels:
        yield pixels
        _call(form, final, path, replace(plan, array=pixels))


def _format_for(path: Path, item: Image | LabelMap | Table) -> Format:
    form, suffix = find_format(path)
    if isinstance(item, Table) != (form.module == "table"):
        kind = type(item).__name__
        hint = "Use a name that ends in .csv." if isinstance(item, Table) else "Use a name that ends in .tif."
        raise OutputError(f"'{path}': {form.name} ({suffix}) cannot hold a {kind}.", hint)
    return form


def _call(form: Format, temporary: Path, path: Path, item: Image | LabelMap | Table) -> None:
    """Let the format write, with errors that name the final file."""
    try:
        form.load().write(temporary, item)
    except DeepBioError as error:
        if temporary.name not in error.message:
            raise
        raise type(error)(error.message.replace(str(temporary), str(path)), error.hint) from error


@contextmanager
def _scratch(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Map a file of zeros beside `path` into memory; it is removed at the end."""
    temporary = temporary_name(path.with_name(path.name + ".raw"))
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        try:
            _reserve(temporary, size)
        except OSError as error:
            raise output_error(path, error) from error
        pixels = np.memmap(temporary, dtype, "r+", shape=shape)
        yield pixels
        del pixels
    finally:
        temporary.unlink(missing_ok=True)


def _reserve(temporary: Path, size: int) -> None:
    """Make a file of zeros whose space is really there.

    Writing to a mapped file on a full disk kills the process, so space is taken before.
    """
    if hasattr(os, "posix_fallocate"):
        with temporary.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        return
    free = shutil.disk_usage(temporary.parent).free  # macOS and Windows
    if free < size:
        raise OutputError(
            f"No space is left in '{temporary.parent}': {size} bytes are needed, {free} are free."
        )
    with temporary.open("xb") as file:
        file.truncate(size)
