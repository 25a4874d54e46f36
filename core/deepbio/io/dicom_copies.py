"""Files of a DICOM series that are there twice, as after sending it twice or joining two exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from deepbio.io.dicom_files import guarded
from deepbio.io.dicom_frames import Frame
from deepbio.io.dicom_pixels import decoded
from deepbio.io.dicom_values import ValueTable

__all__ = ["without_copies"]

_TOLD = 5  # copies that a note names


def without_copies(frames: Sequence[Frame], folder: Path) -> tuple[list[Frame], tuple[str, ...]]:
    """Leave out the frames of files that say and show what another file does.

    Parameters
    ----------
    frames : sequence of Frame
        Of all files of a series.
    folder : Path
        Where the files are, for the note.

    Returns
    -------
    (list of Frame, tuple of str)
        The frames of the first file of each kind, and a note that names the copies where there are some.
        All frames and no note where two files agree in position, time and all else that is read of their
        headers but not in their pixels: these are two images at one place, not copies.

    Raises
    ------
    ImageError
        If pixels that must be compared cannot be decoded.

    Notes
    -----
    That two files have one SOP instance UID is neither needed nor enough: archives give new ones, and some
    anonymisers give one to all.
    """
    by_file: dict[Path, list[Frame]] = {}
    for frame in frames:
        if frame.position is not None:
            by_file.setdefault(frame.file, []).append(frame)
    alike: dict[tuple[object, ...], list[Path]] = {}
    for file, own in by_file.items():
        alike.setdefault(tuple(_said(frame) for frame in own), []).append(file)
    copies: dict[Path, Path] = {}
    for first, *others in alike.values():
        for other in others:
            if not _same_pixels(first, other, len(by_file[first])):
                return list(frames), ()
            copies[other] = first
    if not copies:
        return list(frames), ()
    return [frame for frame in frames if frame.file not in copies], (_note(copies, folder),)


def _said(frame: Frame) -> tuple[object, ...]:
    """All that is known of a frame but its file, so that it can be compared; NaN is like NaN."""
    return tuple(_plain(getattr(frame, field.name)) for field in fields(frame) if field.name != "file")


def _plain(value: object) -> object:
    if isinstance(value, ValueTable):
        return value.first, value.values.tobytes()
    return value.tobytes() if isinstance(value, np.ndarray) else repr(value)


def _same_pixels(one: Path, other: Path, count: int) -> bool:
    """Whether the frames of two files have the same stored values."""
    with guarded(one, pixels=True), guarded(other, pixels=True):
        pairs = zip(decoded(one, count), decoded(other, count), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)


def _note(copies: dict[Path, Path], folder: Path) -> str:
    def name(file: Path) -> str:
        return f"'{file.relative_to(folder) if file.is_relative_to(folder) else file.name}'"

    told = ", ".join(f"{name(copy)} of {name(first)}" for copy, first in list(copies.items())[:_TOLD])
    more = f" and {len(copies) - _TOLD} more" if len(copies) > _TOLD else ""
    many = f"{len(copies)} files are copies" if len(copies) > 1 else "1 file is a copy"
    return f"{many} of others in the series, the same in position, header and pixels, and left out: {told}{more}."
