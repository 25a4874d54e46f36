"""DICOM segmentations (SEG) as label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.errors import ImageError
from deepbio.image import Grid, Image
from deepbio.io.dicom_files import Series, guarded, read_header

if TYPE_CHECKING:
    from deepbio.io.dicom_frames import Frame

__all__ = ["read_seg"]

_SAME_PLACE = 2e-3  # mm: positions of one slice at different times may be rounded differently
_OFF = 0.05  # of the slice distance: how far a slice may be from its regular place
_SAME_STEP = 0.02  # of a distance: what rounding of positions makes of it
_SAME_DIRECTION = 1e-4  # difference of direction cosines that files' rounding makes
_DRIFT = 0.1  # pixels: how far a slice may lie beside the normal of the first


def read_seg(series: Series) -> Image:
    """Read a segmentation as an image of its segment numbers; ``meta["labels"]`` has their names.

    The grid reaches from the first to the last slice that any segment is in. Files that are the times of one
    segmentation, as :func:`deepbio.io.write_dicom_seg` writes them, become ``TZYX``.

    Raises
    ------
    ImageError
        If segments overlap, are fractional, or their frames are no regular stack.
    """
    from deepbio.io.dicom_frames import read_frames

    frames = read_frames(series.files)
    files = _in_time(series, frames)
    headers = {file: read_header(file) for file in files}
    names: dict[int, str] = {}
    for file, header in headers.items():
        with guarded(file):
            names |= {int(item.SegmentNumber): str(item.SegmentLabel) for item in header.SegmentSequence}
    places, grid = _places(series.folder, frames, _told_step(headers[files[0]]))
    array = np.zeros((len(files), *grid.shape), np.uint8 if max(names, default=0) < 256 else np.uint16)
    for t, file in enumerate(files):
        mine = [place for place, frame in zip(places, frames, strict=True) if frame.file == file]
        _fill(file, headers[file], array[t], mine)
    axes = "ZYX" if len(files) == 1 else "TZYX"
    meta = {"modality": "SEG", "series_uid": series.uid, "labels": names}
    return Image(array if len(files) > 1 else array[0], axes, grid, meta=meta)


def _in_time(series: Series, frames: Sequence[Frame]) -> list[Path]:
    """The files in order of the one time that all frames of each are of."""
    if len(series.files) == 1:
        return list(series.files)
    found = {(frame.file, frame.times[0]) for frame in frames}
    times = dict(found)
    if not len(found) == len(times) == len(set(times.values())) or np.isnan(list(times.values())).any():
        raise ImageError(
            f"'{series.folder}' has {len(series.files)} segmentations, and their frames do not say that they are "
            "of as many times; expected one.",
            "Name one of the files.",
        )
    return sorted(times, key=times.__getitem__)


def _fill(file: Path, header: Any, target: np.ndarray, places: Sequence[int]) -> None:
    """Paint the frames of a file into (z, y, x), each at its place."""
    import pydicom
    from pydicom.pixels import pixel_array

    with guarded(file):
        kind = str(header.get("SegmentationType") or "BINARY")
        owners = [0] * len(places) if kind == "LABELMAP" else _owners(header, len(places))
    if kind not in ("BINARY", "LABELMAP"):
        raise ImageError(f"'{file}' holds probabilities (a {kind} segmentation), not labels.")
    with guarded(file, pixels=True):
        pixels = pixel_array(pydicom.dcmread(file)).reshape(len(places), *target.shape[1:])
    for plane, owner, place in zip(pixels, owners, places, strict=True):
        _paint(file, target[place], plane, owner)


def _paint(file: Path, target: np.ndarray, plane: np.ndarray, owner: int) -> None:
    if not owner:  # the pixels are the numbers
        target[...] = plane
        return
    inside = plane != 0
    there = target[inside]
    if (there != 0).any():
        raise ImageError(
            f"'{file}': the segments {int(there.max())} and {owner} overlap; a label map has one label per pixel.",
            "Separate them, for example in 3D Slicer.",
        )
    target[inside] = owner


def _owners(header: Any, count: int) -> list[int]:
    """The segment of each frame."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]

    def number(group: Any) -> int:
        item = group.get("SegmentIdentificationSequence") or shared[0].get("SegmentIdentificationSequence")
        return int(item[0].ReferencedSegmentNumber) if item else 1

    return [number(group) for group in groups] or [1] * count


def _told_step(header: Any) -> float | None:
    """Spacing between slices as the file says it; None where it does not."""
    groups = [
        *(header.get("SharedFunctionalGroupsSequence") or []),
        *(header.get("PerFrameFunctionalGroupsSequence") or []),
    ]
    measures = [item for group in groups for item in group.get("PixelMeasuresSequence") or []]
    told = next((item.get("SpacingBetweenSlices") for item in measures), None)
    return abs(float(told)) or None if told else None


def _places(path: Path, frames: Sequence[Frame], told: float | None) -> tuple[list[int], Grid]:
    """The slice of each frame, and the grid of all: slices without any segment are not in the file."""
    first = frames[0]
    if any(frame.position is None or frame.axes is None or frame.spacing is None for frame in frames):
        raise ImageError(f"'{path}' does not say where its segments are.", "Export it again.")
    axes = np.asarray(first.axes)
    normal = np.cross(axes[:, 1], axes[:, 0])
    positions = np.array([frame.position for frame in frames])
    along = positions @ normal
    origin = positions[int(along.argmin())]
    along -= along.min()
    aside = positions - origin - along[:, None] * normal
    turned = any(
        not np.allclose(np.asarray(frame.axes), axes, rtol=0, atol=_SAME_DIRECTION) for frame in frames
    )
    if turned or np.linalg.norm(aside, axis=1).max() > _DRIFT * min(first.spacing or ()):
        raise ImageError(
            f"The slices of '{path}' are {'turned' if turned else 'shifted'} against each other; expected a straight "
            "stack.",
            "Resample it in 3D Slicer.",
        )
    step = _step(path, along, told, first.depth)
    places = [round(float(place)) for place in along / step]
    rows, columns, _ = first.shape
    grid = Grid(
        (max(places) + 1, rows, columns),
        (step, *(first.spacing or ())),
        tuple(origin),
        np.column_stack([normal, axes]),
        "millimeter",
    )
    return places, grid


def _step(path: Path, along: np.ndarray, told: float | None, depth: float | None) -> float:
    """Distance of the slices: what the file says if all lie on it, else the smallest that is between two.

    With gaps between all slices that are used, only the file can say how many are left out.
    """
    steps = np.diff(np.unique(np.round(along, 3)))
    steps = steps[steps > _SAME_PLACE]
    if not len(steps):
        return depth or 1.0
    smallest = float(steps.min())
    if depth and abs(depth - smallest) < _SAME_STEP * smallest:
        smallest = depth  # the file's own number is more exact than a difference
    for step in (told, smallest):
        if step and step < (1 + _SAME_STEP) * smallest and _regular(along, step):
            return step
    raise ImageError(f"The slices of '{path}' are not evenly spaced.", "Resample it in 3D Slicer.")


def _regular(along: np.ndarray, step: float) -> bool:
    index = along / step
    return bool(np.abs(index - np.rint(index)).max() <= _OFF)
