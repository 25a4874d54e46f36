"""The single pictures of a DICOM series, classic (one a file) or multi-frame: where, when, what values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError
from deepbio.io.dicom_codecs import check_syntax
from deepbio.io.dicom_files import describe, guarded, read_header
from deepbio.io.dicom_pixels import check_bits
from deepbio.io.dicom_values import ValueTable, value_table, value_unit

__all__ = ["Frame", "read_frames"]

_US_CENTIMETER = 3  # code of the unit in an ultrasound region
_US_TISSUE = 1  # code of a region that shows 2D tissue
_AXIAL = 1e-6  # difference of the normal's z from 1
_SAME_PLACE = 1e-3  # mm


@dataclass(frozen=True, eq=False)
class Frame:
    """One 2D picture, without its pixels.

    Attributes
    ----------
    file : Path
        Where it is.
    index : int
        Its number in the file, from 0.
    shape : tuple of int
        (rows, columns, samples per pixel).
    dtype : numpy dtype
        Type of the stored values.
    bits : int
        How many bits of it are used.
    high_bit : int
        The highest of them, from 0; usually ``bits - 1``.
    photometric : str
        How values become brightness or colour, such as ``"MONOCHROME2"``.
    slope, intercept : float
        Value = stored * slope + intercept.
    table : ValueTable or None
        What stored values stand for, where a table says it instead.
    unit : str
        Unit of the values, as DICOM names it; empty where it is not said.
    position : ndarray of float64, shape (3,), or None
        Centre of the first pixel, in mm, LPS.
    axes : ndarray of float64, shape (3, 2), or None
        Unit vectors, LPS: column 0 along growing row number (our y), column 1 along growing column number (x).
    spacing : tuple of float or None
        Distance of the pixels' centres along (y, x), in mm.
    depth : float or None
        Spacing between slices or else their thickness, in mm; says nothing where there are several slices.
    times : tuple of float
        What tells frames at one position apart in time, most telling first; NaN where it is not said.
    interval : float or None
        Seconds from frame to frame, where the file says so.
    reference : str
        UID of the frame of reference that the position is in; empty where it is not said.
    traits : tuple of (str, str)
        What else may tell frames apart, for error messages.
    """

    file: Path
    index: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    bits: int
    high_bit: int
    photometric: str
    slope: float
    intercept: float
    table: ValueTable | None
    unit: str
    position: np.ndarray | None
    axes: np.ndarray | None
    spacing: tuple[float, float] | None
    depth: float | None
    times: tuple[float, ...]
    interval: float | None
    reference: str
    traits: tuple[tuple[str, str], ...]


def read_frames(files: Sequence[Path]) -> list[Frame]:
    """Read what the headers of a series say, in the order of the files.

    Raises
    ------
    ImageError
        If a file is damaged, no image, or compressed in a way that cannot be read.
    """
    frames: list[Frame] = []
    checked = set()
    for file in files:
        header = read_header(file)
        with guarded(file):
            syntax = str(header.file_meta.get("TransferSyntaxUID") or "1.2.840.10008.1.2")
            found = _frames_of(file, header)
            check_bits(file, header, syntax)
        if syntax not in checked:
            try:
                with guarded(file):
                    check_syntax(syntax)
            except ImageError as error:
                raise ImageError(f"'{file}': {error.message}", error.hint) from error
            checked.add(syntax)
        frames += found
    return frames


def _frames_of(file: Path, header: Any) -> list[Frame]:
    if not header.get("Rows") or not header.get("Columns") or not header.get("BitsAllocated"):
        raise ImageError(
            f"'{file}' is no image: it is '{describe(header)}' (modality {header.get('Modality') or 'not said'}).",
            "Name the folder of the scan that it belongs to.",
        )
    if header.get("Modality") == "NM" and int(header.get("NumberOfFrames") or 1) > 1:
        raise ImageError(
            f"'{file}' is a nuclear medicine recording of several frames, which is not supported: its frames do "
            "not say where they are.",
            "Export it as an enhanced multi-frame series, or as .nii.gz.",
        )
    count = int(header.get("NumberOfFrames") or 1)
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    single = header.get("PerFrameFunctionalGroupsSequence") or []
    if single and len(single) != count:
        raise ImageError(
            f"'{file}' promises {count} frames and describes {len(single)}.", "Export the series again."
        )
    table = value_table(file, header)
    found = [
        _frame(file, index, header, (single[index] if single else None, shared), table)
        for index in range(count)
    ]
    return _spread(file, header, found) if header.get("GridFrameOffsetVector") is not None else found


def _spread(file: Path, header: Any, frames: list[Frame]) -> list[Frame]:
    """Put the frames of a dose grid where they lie: the file has the first one's position and offsets of all.

    Notes
    -----
    PS3.3 C.8.8.3.2: offsets that begin with 0 count from the first frame along the normal, row x column
    direction; others are the z of the frames, in an axial grid whose position has the first of them as its z.
    """
    offsets = np.array([float(offset) for offset in np.atleast_1d(header.GridFrameOffsetVector)])
    steps = np.abs(np.diff(offsets))
    if len(frames) == 1:  # the standard asks for offsets of several frames only
        depth = frames[0].depth or (float(steps[0]) if len(steps) else None)
        return [replace(frames[0], depth=depth or None)]
    position, axes = frames[0].position, frames[0].axes
    if len(offsets) != len(frames) or position is None or axes is None:
        raise ImageError(
            f"'{file}' has {len(frames)} frames and {len(offsets)} offsets of them (Grid Frame Offset Vector), "
            f"{'with' if position is not None and axes is not None else 'without'} position and orientation: where "
            "its frames lie is not known.",
            "Export it again.",
        )
    normal = np.cross(axes[:, 1], axes[:, 0])
    if offsets[0] != 0:
        if abs(abs(normal[2]) - 1) > _AXIAL or abs(offsets[0] - position[2]) > _SAME_PLACE:
            raise ImageError(
                f"The offsets of the frames of '{file}' (Grid Frame Offset Vector) begin with {offsets[0]:g}; "
                f"expected 0, or in an axial grid the z of its position, {position[2]:g}.",
                "Export it again.",
            )
        offsets = (offsets - offsets[0]) * np.sign(normal[2])
    return [
        replace(frame, position=position + offset * normal)
        for frame, offset in zip(frames, offsets, strict=True)
    ]


def _frame(file: Path, index: int, header: Any, groups: tuple[Any, Any], table: ValueTable | None) -> Frame:
    """Gather a frame's facts: its own group of tags counts before the shared one, that before the header."""

    def find(name: str, sequence: str) -> Any:
        for group in groups:
            item = _first(group.get(sequence)) if group is not None else None
            if item is not None and item.get(name) not in (None, ""):
                return item.get(name)
        return header.get(name)

    position = _numbers(find("ImagePositionPatient", "PlanePositionSequence"), 3)
    cosines = _numbers(find("ImageOrientationPatient", "PlaneOrientationSequence"), 6)
    depths = (
        _number(find("SpacingBetweenSlices", "PixelMeasuresSequence")),
        _number(find("SliceThickness", "PixelMeasuresSequence")),
    )
    times = (
        _number(find("TemporalPositionIndex", "FrameContentSequence")),
        _number(header.get("TemporalPositionIdentifier")),
        _number(find("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence")),
        _number(header.get("TriggerTime")),
        _number(header.get("FrameReferenceTime")),
    )
    slope = find("RescaleSlope", "PixelValueTransformationSequence")
    slope = header.get("DoseGridScaling") if slope in (None, "") else slope
    intercept = find("RescaleIntercept", "PixelValueTransformationSequence")
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    return Frame(
        file=file,
        index=index,
        shape=(int(header.Rows), int(header.Columns), int(header.get("SamplesPerPixel") or 1)),
        dtype=_stored_type(header),
        bits=bits,
        high_bit=int(_or(_number(header.get("HighBit")), bits - 1)),
        photometric=str(header.get("PhotometricInterpretation") or "MONOCHROME2"),
        slope=1.0 if table is not None else _or(_number(slope), 1.0),
        intercept=0.0 if table is not None else _or(_number(intercept), 0.0),
        table=table,
        unit=value_unit(header),
        position=position,
        axes=None if cosines is None else _perpendicular(file, cosines),
        spacing=_pixel_spacing(header, find("PixelSpacing", "PixelMeasuresSequence")),
        depth=next((abs(depth) for depth in depths if depth), None),
        times=tuple(np.nan if time is None else time for time in times),
        interval=_interval(header),
        reference=str(header.get("FrameOfReferenceUID") or ""),
        traits=_traits(header, find("EffectiveEchoTime", "MREchoSequence")),
    )


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _number(value: Any) -> float | None:
    """A number as it stands in the file; None where there is none."""
    if value is None or value == "":
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _numbers(values: Any, count: int) -> np.ndarray | None:
    if values is None or values == "" or len(values) == 0:
        return None
    found = np.array([float(value) for value in values], np.float64)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"expected {count} numbers")
    return found


def _perpendicular(file: Path, cosines: np.ndarray) -> np.ndarray:
    """Unit vectors along y and x; those that are far from perpendicular units are no orientation."""
    along_x, along_y = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(along_x), np.linalg.norm(along_y)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(along_x @ along_y) > 1e-3:
        raise ImageError(
            f"'{file}' has an orientation that is none: {cosines.tolist()}; expected two perpendicular "
            "unit vectors.",
            "Export the series again.",
        )
    along_x = along_x / lengths[0]
    along_y = along_y - (along_y @ along_x) * along_x  # files round to 6 digits or so
    return np.stack([along_y / np.linalg.norm(along_y), along_x], axis=1)


def _stored_type(header: Any) -> np.dtype:
    bits = int(header.BitsAllocated)
    if header.get("PixelRepresentation") is None and bits in (32, 64):
        return np.dtype(f"f{bits // 8}")  # parametric maps
    kind = "i" if int(header.get("PixelRepresentation") or 0) else "u"
    return np.dtype(f"{kind}{max(1, bits // 8)}")


def _pixel_spacing(header: Any, given: Any) -> tuple[float, float] | None:
    """Distances along (y, x) in mm: of the pixels, else of one ultrasound region, else of the detector."""
    spacing = _numbers(given, 2)
    if spacing is None:
        regions = header.get("SequenceOfUltrasoundRegions") or []
        tissue = [region for region in regions if region.get("RegionSpatialFormat") == _US_TISSUE]
        if len(tissue) == 1 and tissue[0].get("PhysicalUnitsXDirection") == _US_CENTIMETER:
            region = tissue[0]
            spacing = 10 * np.abs([float(region.PhysicalDeltaY), float(region.PhysicalDeltaX)])
    if spacing is None:
        spacing = _numbers(header.get("ImagerPixelSpacing"), 2)
    if spacing is None or not (spacing > 0).all():
        return None
    return float(spacing[0]), float(spacing[1])


def _interval(header: Any) -> float | None:
    time = _number(header.get("FrameTime"))
    vector = header.get("FrameTimeVector")
    rate = _number(header.get("CineRate"))
    if time:
        return time / 1000
    if vector is not None and not isinstance(vector, str | float) and len(vector) > 1:
        return float(np.mean([float(step) for step in vector[1:]])) / 1000 or None
    return 1 / rate if rate else None


def _traits(header: Any, echo: Any) -> tuple[tuple[str, str], ...]:
    values = {
        "echo time": _number(echo if echo is not None else header.get("EchoTime")),
        "b-value": _number(header.get("DiffusionBValue")),
        "acquisition": _number(header.get("AcquisitionNumber")),
        "image type": "/".join(map(str, header.get("ImageType") or [])),
    }
    return tuple((name, str(value)) for name, value in values.items())
