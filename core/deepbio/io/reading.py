"""From a file to an image, a label map, or what a file says about itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import DeepBioError, ImageError, OptionError
from deepbio.image import Image, LabelMap
from deepbio.io.arrays import iter_blocks
from deepbio.io.channels import join_channels
from deepbio.io.ctc import is_ctc, read_ctc
from deepbio.io.dicom_files import is_dicom, is_dicom_folder
from deepbio.io.files import check_file
from deepbio.io.formats import FORMATS, Format, find_format

__all__ = ["info", "read", "read_labels"]

_DICOM = next(form for form in FORMATS if form.name == "DICOM")


def read(path: str | Path | Sequence[str | Path], *, lazy: bool = False, series: str = "") -> Image:
    """Read an image with its axes, spacing, channels and frame interval.

    Parameters
    ----------
    path : str, Path or sequence of them
        A TIFF (ImageJ, OME, plain), PNG, JPEG, NIfTI, NRRD, MetaImage or OME-Zarr; a DICOM file of any
        name, or a folder with the files of a DICOM series. Several are the channels of one image, in order.
    lazy : bool
        Leave the pixels in the file until a part of them is asked for. TIFF and OME-Zarr are read
        in parts, so an image larger than memory is no problem; other formats are read whole, when
        the first pixel is asked for.
    series : str
        Which series of a DICOM folder with several: its UID, the beginning of it, or ``"#2"`` for the
        second that :func:`deepbio.io.list_series` lists.

    Returns
    -------
    Image
        ``meta["source"]`` is the path, ``meta["format"]`` the format, and ``meta["notes"]`` a tuple
        of sentences on what had to be assumed.

    Raises
    ------
    ImageError
        If the file is missing, damaged, cut off, or not of its format; or if several files are not of the same
        pixels.
    MissingPackage
        If the format needs a package that is not installed.
    OptionError
        If a series is asked for of what is not DICOM.
    """
    if isinstance(path, str | Path):
        return _read(Path(path), lazy=lazy, labels=False, series=series)
    paths = [Path(one) for one in path]
    if not paths:
        raise ImageError("There is no file to read.", "Name one, or one for each channel.")
    return join_channels([_read(one, lazy=lazy, labels=False, series=series) for one in paths], paths)


def read_labels(path: str | Path, *, lazy: bool = False) -> LabelMap:
    """Read a label map: integers, or floats that are whole numbers (as ImageJ's 32-bit images).

    Parameters
    ----------
    path : str or Path
        As for :func:`read`. The indices of a palette PNG are the labels; so are the segment numbers of
        a DICOM segmentation, whose names are read, too. A folder with tracks as the Cell Tracking Challenge
        has them is a movie.
    lazy : bool
        Leave the pixels in the file, as for :func:`read`; the file must then hold integers.

    Returns
    -------
    LabelMap

    Raises
    ------
    ImageError
        As :func:`read`; and if there is more than one channel, or a value is not a whole number
        from 0 on.
    """
    path = Path(path)
    if is_ctc(path):
        return read_ctc(path)[0]
    return _as_labels(_read(path, lazy=lazy, labels=True), path)


def info(path: str | Path, *, series: str = "") -> dict[str, Any]:
    """Say what a file holds, from its header; the pixels are not loaded.

    Parameters
    ----------
    path : str or Path
        As for :func:`read`.
    series : str
        As for :func:`read`.

    Returns
    -------
    dict
        Plain values that can be written as JSON.

    Examples
    --------
    >>> import tempfile
    >>> from deepbio.io import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder, "a.png"), Image(np.zeros((7, 11), np.uint8)))
    ...     facts = info(Path(folder, "a.png"))
    >>> facts["format"], facts["axes"], facts["shape"], facts["pixel type"]
    ('PNG', 'YX', [7, 11], 'uint8')
    """
    path = Path(path)
    image = _read(path, lazy=True, labels=False, series=series)
    grid = image.grid
    facts: dict[str, Any] = {
        "file": str(path),
        "format": image.meta["format"],
        "axes": image.axes,
        "shape": list(image.shape),
        "pixel type": str(image.dtype),
        "bytes": int(np.prod(image.shape)) * image.dtype.itemsize,
        "spacing": dict(zip("zyx"[-grid.ndim :], grid.spacing, strict=True)),
        "unit": grid.unit,
        "origin": list(grid.origin),
        "direction": grid.direction.tolist(),
        "channels": list(image.channels),
        "colour": image.is_rgb,
        "frame interval [s]": image.frame_interval,
    }
    told = ("modality", "series_uid", "value_unit", "compression", "notes")
    facts.update({key.replace("_", " "): image.meta[key] for key in told if image.meta.get(key)})
    if "notes" in facts:
        facts["notes"] = list(facts["notes"])
    return facts


def _read(path: Path, *, lazy: bool, labels: bool, series: str = "") -> Image:
    form = _format_of(path)
    if series and form != _DICOM:
        raise OptionError(f"'{path}' is not DICOM: there is no series {series!r}.", "Leave the series out.")
    if form.module == "table":
        raise ImageError(
            f"'{path}' is a table; expected an image.", "Name the image that it was measured in."
        )
    check_file(path, is_folder=form.is_folder or (form == _DICOM and path.is_dir()))
    chosen = {"series": series} if series else {}
    with _explained(path):
        image = form.load().read(path, lazy=lazy, labels=labels, **chosen)
    meta = {"source": str(path), "format": form.name, **image.meta}
    return Image(image.array, image.axes, image.grid, image.channels, image.frame_interval, meta)


def _format_of(path: Path) -> Format:
    """The format by the name; of what has none of ours, and of folders, by a look inside."""
    try:
        form, _ = find_format(path)
    except ImageError:
        if not path.exists():
            check_file(path)  # says so
        if is_dicom(path) or is_dicom_folder(path):
            return _DICOM
        raise
    return _DICOM if path.is_dir() and not form.is_folder and is_dicom_folder(path) else form


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Put the file's name into errors that do not have it, and turn the system's errors into ours."""
    try:
        yield
    except ImageError as error:
        if path.name in error.message:
            raise
        raise ImageError(f"'{path}': {error.message}", error.hint) from error
    except DeepBioError:
        raise
    except OSError as error:
        raise ImageError(
            f"'{path}' cannot be read: {error.strerror or error}.", "Check the disk, or copy the file again."
        ) from error
    except (ValueError, RuntimeError, struct.error, LookupError, OverflowError) as error:
        # what format libraries raise on damaged files; anything else is a mistake of ours and stays as it is
        raise ImageError(
            f"'{path}' is damaged or not supported: {error}.", "Export or copy the file again."
        ) from error


def _as_labels(image: Image, path: Path) -> LabelMap:
    array: Any = image.array
    axes = image.axes
    if "C" in axes:
        raise ImageError(
            f"'{path}' has {image.size('C')} channels; a label map has one.",
            "Use the label image, not the picture of it."
            if image.is_rgb
            else "Save the channel with the labels alone.",
        )
    if image.dtype.kind == "b":
        array = np.asarray(array[...]).astype(np.uint8)
    elif image.dtype.kind == "f":
        array = _whole_numbers(np.asarray(array[...]), path)
    elif image.dtype.kind == "i" and isinstance(array, np.ndarray):
        _check_not_negative(array, path)
    elif image.dtype == np.uint64 and isinstance(array, np.ndarray):
        array = _signed(array, path)
    names = image.meta.get("labels", {})
    return LabelMap(array, axes, image.grid, names, image.frame_interval)


def _whole_numbers(array: np.ndarray, path: Path) -> np.ndarray:
    largest = 0
    for block in iter_blocks(array):
        if not np.isfinite(block).all() or (block != np.rint(block)).any():
            raise ImageError(
                f"'{path}' holds numbers that are not whole ({array.dtype}); labels must be integers."
            )
        largest = max(largest, int(block.max()))
    _check_not_negative(array, path)
    kind = np.min_scalar_type(largest)
    return _signed(array.astype(kind), path) if kind == np.uint64 else array.astype(kind)


def _signed(array: np.ndarray, path: Path) -> np.ndarray:
    """Labels of 64 bits as signed ones: numpy makes floats of both kinds together, which are too coarse."""
    highest = array.max(initial=0)
    if highest > np.iinfo(np.int64).max:
        raise ImageError(
            f"'{path}' holds the label {highest}; labels go up to {np.iinfo(np.int64).max}.",
            "Number the objects anew.",
        )
    return array.astype(np.int64)


def _check_not_negative(array: np.ndarray, path: Path) -> None:
    lowest = array.min()
    if lowest < 0:
        raise ImageError(f"'{path}' holds the label {lowest}; labels are 0 (background) and above.")
