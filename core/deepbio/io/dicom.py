"""DICOM: a file, or a folder with the files of a series, as one image in millimeters.

Nothing about the patient is read (see :mod:`deepbio.io.dicom_files`): ``meta`` has the modality, the series
UID, how values were rescaled and, where the file says it, their unit. Values are those of the modality
(Hounsfield units in CT): integers where slope and intercept or table are, 32-bit floats otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError, OutputError
from deepbio.image import RGB, Image, LabelMap, Table
from deepbio.io.arrays import Deferred
from deepbio.io.dicom_copies import without_copies
from deepbio.io.dicom_files import Series, choose_series, guarded
from deepbio.io.dicom_frames import Frame, read_frames
from deepbio.io.dicom_geometry import Stack, arrange
from deepbio.io.dicom_pixels import decoded

__all__ = ["read", "series_frames", "write"]

_INTEGERS = ("u1", "i2", "u2", "i4")  # the first that holds all values is taken


def read(path: Path, *, lazy: bool, labels: bool, series: str = "") -> Image:
    """Read a DICOM file or a series in a folder.

    Parameters
    ----------
    path : Path
        A file or a folder.
    lazy : bool
        Leave the pixels in the files until they are asked for.
    labels : bool
        No matter here: a segmentation is read as its labels in any case.
    series : str
        Which series of the folder, as in :func:`deepbio.io.dicom_files.choose_series`.

    Raises
    ------
    ImageError
        If it is no image, is damaged, cannot be decompressed, or its slices are no regular stack.
    """
    chosen = choose_series(path, series)
    if chosen.modality == "SEG":
        from deepbio.io.dicom_seg_read import read_seg

        return read_seg(chosen)
    frames, stack = series_frames(chosen)
    colours = 3 if frames[0].photometric == "PALETTE COLOR" else frames[0].shape[2]
    axes, shape = stack.axes, _shape(stack)
    if colours > 1:
        at = axes.find("T") + 1
        axes, shape = axes[:at] + "C" + axes[at:], (*shape[:at], colours, *shape[at:])
    dtype = _value_type(frames)
    array = Deferred(shape, dtype, lambda: _pixels(frames, stack, colours, dtype).reshape(shape))
    return Image(
        array if lazy else array[...],
        axes,
        stack.grid,
        RGB if colours == 3 else (),
        stack.interval,
        _meta(chosen, frames, stack),
    )


def series_frames(series: Series) -> tuple[list[Frame], Stack]:
    """Read the headers of a series and put its frames in order; of files that are copies one counts.

    Raises
    ------
    ImageError
        As :func:`read`; the message names the folder or file.
    """
    frames, notes = without_copies(read_frames(series.files), series.folder)
    try:
        stack = arrange(frames)
        return frames, replace(stack, notes=(*notes, *stack.notes))
    except ImageError as error:
        raise ImageError(f"'{series.folder}': {error.message}", error.hint) from error


def write(path: Path, item: Image | LabelMap | Table) -> None:
    """Refuse: a DICOM object needs the series that it belongs to.

    Raises
    ------
    OutputError
        Always.
    """
    hint = "Write .nii.gz or .nrrd; labels as DICOM SEG: deepbio.io.write_dicom_seg, or 'deepbio run --save seg'."
    raise OutputError(
        f"'{path}': a {type(item).__name__} cannot become a DICOM file without its source.", hint
    )


def _shape(stack: Stack) -> tuple[int, ...]:
    times, slices = stack.order.shape
    sizes = {"T": times, "Z": slices, "Y": stack.grid.shape[-2], "X": stack.grid.shape[-1]}
    return tuple(sizes[axis] for axis in stack.axes)


def _meta(series: Series, frames: Sequence[Frame], stack: Stack) -> dict[str, Any]:
    slopes = {frame.slope for frame in frames}
    intercepts = {frame.intercept for frame in frames}
    notes = [*stack.notes, *_notes_on_values(frames)]
    references = len({frame.reference for frame in frames})
    if references > 1:
        notes.append(
            f"The files name {references} frames of reference (as some anonymisers leave them); their positions "
            "are taken as of one."
        )
    if not series.uid:
        notes.append("The files have no series UID.")
    units = {frame.unit for frame in frames if frame.unit}
    return {
        **({"value_unit": units.pop()} if len(units) == 1 else {}),
        "modality": series.modality,
        "series_uid": series.uid,
        "rescale_slope": slopes.pop() if len(slopes) == 1 else "per slice",
        "rescale_intercept": intercepts.pop() if len(intercepts) == 1 else "per slice",
        "notes": tuple(notes),
    }


def _notes_on_values(frames: Sequence[Frame]) -> list[str]:
    notes = []
    if frames[0].photometric == "MONOCHROME1":
        notes.append("Low values are meant to be shown bright (MONOCHROME1); values are as stored.")
    moved = next((frame for frame in frames if frame.high_bit != frame.bits - 1), None)
    if moved is not None:
        notes.append(_note_on_bits(moved))
    if any(frame.table is not None for frame in frames):
        notes.append("Values are those of the file's table (Modality LUT).")
    return notes


def _note_on_bits(frame: Frame) -> str:
    lowest = frame.high_bit + 1 - frame.bits
    if lowest > 0 and frame.high_bit < 8 * frame.dtype.itemsize:
        return f"Values are in the bits {lowest} to {frame.high_bit} (High Bit): they are read as the standard says."
    return (
        f"The header contradicts itself ({frame.bits} bits of {8 * frame.dtype.itemsize} up to bit "
        f"{frame.high_bit}): the lowest {frame.bits} bits are taken."
    )


def _value_type(frames: Sequence[Frame]) -> np.dtype:
    """The smallest type that holds what any stored value can become."""
    kinds = {frame.dtype.kind for frame in frames}
    scales = {(frame.slope, frame.intercept) for frame in frames}
    tables = [frame.table.values for frame in frames if frame.table is not None]
    if kinds == {"f"} or any(not (slope.is_integer() and start.is_integer()) for slope, start in scales):
        return np.dtype(np.float32)
    bounds = [float(bound) for values in tables for bound in (values.min(), values.max())]
    for frame in frames:
        if frame.table is not None:
            continue
        half = 2.0 ** (frame.bits - 1)
        stored = (-half, half - 1) if frame.dtype.kind == "i" else (0.0, 2 * half - 1)
        bounds += [value * frame.slope + frame.intercept for value in stored]
    for name in _INTEGERS:
        limits = np.iinfo(name)
        if limits.min <= min(bounds) and max(bounds) <= limits.max:
            return np.dtype(name)
    return np.dtype(np.float32) if frames[0].bits <= 24 else np.dtype(np.float64)


def _pixels(frames: Sequence[Frame], stack: Stack, colours: int, dtype: np.dtype) -> np.ndarray:
    """Decode all frames, file by file; gives shape (T, C, Z, Y, X)."""
    times, slices = stack.order.shape
    out = np.empty((times, colours, slices, *frames[0].shape[:2]), dtype)
    place = {int(number): at for at, number in np.ndenumerate(stack.order)}
    by_file: dict[Path, list[int]] = {}
    for number, frame in enumerate(frames):
        by_file.setdefault(frame.file, []).append(number)
    for file, numbers in by_file.items():
        with guarded(file, pixels=True):
            for number, stored in zip(numbers, decoded(file, len(numbers)), strict=True):
                t, z = place[number]
                out[t, :, z] = _values(stored, frames[number], dtype)
    return out


def _values(stored: np.ndarray, frame: Frame, dtype: np.dtype) -> np.ndarray:
    """Rescale; gives (C, y, x) or (y, x)."""
    if stored.ndim == 3:
        return np.moveaxis(stored, -1, 0)
    if frame.table is not None:
        return frame.table.apply(stored)
    if frame.slope == 1 and frame.intercept == 0:
        return stored
    if dtype.kind in "iu":
        return stored.astype(dtype) * dtype.type(frame.slope) + dtype.type(frame.intercept)
    return stored * frame.slope + frame.intercept
