"""NIfTI, NRRD and MetaImage through SimpleITK: places in the world exact to 1e-6, in millimeters.

SimpleITK's sizes run ``(x, y, z)``; this module is where they meet ours, which run ``(z, y, x)``.
The world is LPS on both sides (SimpleITK turns NIfTI's RAS). Micrometers become millimeters, in files
of others as well as when written, and pixels are taken for millimeters.

What SimpleITK 2.5 lets pass is checked here: a NIfTI that is cut off is read with whatever was in
memory in place of the missing pixels, and a NIfTI on a full disk is written in part, both without an error.
"""

from __future__ import annotations

import base64
import binascii
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK

from deepbio.errors import ImageError, OutputError
from deepbio.image import RGB, Grid, Image, LabelMap, Table
from deepbio.io.arrays import Deferred
from deepbio.io.files import final_name, first_bytes
from deepbio.io.labels import label_type
from deepbio.io.medical_place import nrrd_millimeters, place_notes, with_unit_axes
from deepbio.io.nifti import check_nifti, told_time_step
from deepbio.io.nrrd_sequence import frames_are_list, sequence_times

__all__ = ["read", "write"]

sitk: Any = SimpleITK  # it has no types

_NOTE = "deepbio "  # begins NIfTI's description where we wrote it
_TIME_UNITS = 0b111000  # bits of NIfTI's xyzt_units


class _Header(NamedTuple):
    """What a file says before its pixels are read; sizes as SimpleITK has them, x first."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: np.ndarray
    components: int
    dtype: np.dtype
    meta: Mapping[str, str]


def read(path: Path, *, lazy: bool, labels: bool) -> Image:
    """Read an image of 2 or 3 dimensions, with time as a 4th, with vectors as channels.

    The volumes of a sequence of 3D Slicer (``.seq.nrrd``) are frames.

    ``meta["notes"]`` says where the axes are sheared, and where a NIfTI holds two places that differ.

    Raises
    ------
    ImageError
        If the file is damaged or cut off, or has complex pixels or 5 dimensions.
    """
    _check_signature(path)
    header = _header(path)
    axes, shape = _axes(path, header)
    grid, exact_time = _grid(header, nrrd_millimeters(path) if path.suffix.lower() == ".nrrd" else 1.0)
    stored, notes = axes, place_notes(grid, header.meta)
    interval = None
    if frames_are_list(path, header.meta):
        axes = axes.replace("C", "T")
    elif "T" in axes and exact_time and len(header.spacing) > 3:
        interval = _frame_interval(header, told_time_step(path) if _is_nifti(path) else None)
    if "T" in axes and interval is None:
        interval, told = sequence_times(header.meta)
        notes += told
    channels = RGB if "C" in axes and header.components == 3 and header.dtype == np.uint8 else ()
    array = Deferred(shape, header.dtype, lambda: _pixels(path, header, stored))
    return Image(array if lazy else array[...], axes, grid, channels, interval, {"notes": notes})


def write(path: Path, item: Image | LabelMap | Table) -> None:
    """Write an image or a label map (compressed).

    NIfTI holds the origin in 32-bit floats, too coarse for 1e-6; the exact one is put into its
    description, and used again if the header agrees with it. A 2D series is written as a 3D one
    with one slice. A picture of another type than red-green-blue bytes loses its channel names.

    Raises
    ------
    OutputError
        If the directions are not perpendicular (NIfTI), or the disk is full.
    """
    if isinstance(item, Table):
        raise OutputError(f"'{path}': expected an image or a label map, found a table.")
    image = _to_sitk(item)
    if _is_nifti(path):
        _check_orthonormal(path, item.grid)
        image.SetMetaData("ITK_FileNotes", _note(item))
    try:
        with _quiet():
            sitk.WriteImage(image, str(path), isinstance(item, LabelMap))
        if _is_nifti(path):
            check_nifti(path, pixels=True)
        if path.suffix.lower() == ".mhd":
            _name_data_file(path)
    except (RuntimeError, ImageError) as error:
        raise _write_error(path, image, error) from error
    finally:
        for part in path.parent.glob(f"{path.stem}.*raw"):  # the pixels of an .mhd that failed
            if path.suffix.lower() == ".mhd":
                part.unlink()


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _reader_name(path: Path) -> str:
    """ITK's reader for the suffix; left to itself, ITK would read a PNG named .nrrd as one."""
    if _is_nifti(path):
        return "NiftiImageIO"
    return "NrrdImageIO" if path.suffix.lower() == ".nrrd" else "MetaImageIO"


def _check_signature(path: Path) -> None:
    if _is_nifti(path):
        check_nifti(path, pixels=False)
        return
    with path.open("rb") as file:
        head = file.read(2048)
    sound = head.startswith(b"NRRD") if path.suffix.lower() == ".nrrd" else b"NDims" in head
    if not sound:
        kind = "an NRRD" if path.suffix.lower() == ".nrrd" else "a MetaImage"
        raise ImageError(
            f"'{path}' is not {kind} file: {first_bytes(path)}.", "Check the suffix, or export it again."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ITK from printing warnings; what they say of NIfTI geometry is checked by us."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _header(path: Path) -> _Header:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_reader_name(path))
    reader.SetFileName(str(path))
    try:
        with _quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _read_error(path, error) from error
    ndim = reader.GetDimension()
    return _Header(
        reader.GetSize(),
        reader.GetSpacing(),
        reader.GetOrigin(),
        np.array(reader.GetDirection()).reshape(ndim, ndim),
        reader.GetNumberOfComponents(),
        _dtype(path, reader.GetPixelIDValue()),
        {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()},
    )


def _dtype(path: Path, pixel_id: int) -> np.dtype:
    scalars = {
        np.uint8: (sitk.sitkUInt8, sitk.sitkVectorUInt8, sitk.sitkLabelUInt8),
        np.int8: (sitk.sitkInt8, sitk.sitkVectorInt8),
        np.uint16: (sitk.sitkUInt16, sitk.sitkVectorUInt16, sitk.sitkLabelUInt16),
        np.int16: (sitk.sitkInt16, sitk.sitkVectorInt16),
        np.uint32: (sitk.sitkUInt32, sitk.sitkVectorUInt32, sitk.sitkLabelUInt32),
        np.int32: (sitk.sitkInt32, sitk.sitkVectorInt32),
        np.uint64: (sitk.sitkUInt64, sitk.sitkVectorUInt64, sitk.sitkLabelUInt64),
        np.int64: (sitk.sitkInt64, sitk.sitkVectorInt64),
        np.float32: (sitk.sitkFloat32, sitk.sitkVectorFloat32),
        np.float64: (sitk.sitkFloat64, sitk.sitkVectorFloat64),
    }
    for kind, ids in scalars.items():
        if pixel_id in ids:
            return np.dtype(kind)
    found = sitk.GetPixelIDValueAsString(pixel_id)
    raise ImageError(
        f"'{path}' has pixels of the type '{found}'; expected integers or floats.", "Save its magnitude."
    )


def _axes(path: Path, header: _Header) -> tuple[str, tuple[int, ...]]:
    sizes = header.size[::-1]
    if len(sizes) > 4 and all(n == 1 for n in sizes[: len(sizes) - 3]):
        sizes = sizes[len(sizes) - 3 :]
    if not 2 <= len(sizes) <= 4:
        raise ImageError(
            f"'{path}' has {len(sizes)} dimensions (sizes {header.size}); expected 2, 3, or 4 with time."
        )
    if len(sizes) == 4 and sizes[0] == 1:
        sizes = sizes[1:]
    axes = "TZYX"[4 - len(sizes) :]
    if header.components == 1:
        return axes, sizes
    at = axes.find("T") + 1
    return axes[:at] + "C" + axes[at:], (*sizes[:at], header.components, *sizes[at:])


def _grid(header: _Header, unit: float) -> tuple[Grid, bool]:
    """The place of the pixels, whose unit has so many mm, and whether the time step is more than a default."""
    ndim = min(len(header.size), 3)
    origin, has_time = header.origin[:ndim], True
    note = header.meta.get("ITK_FileNotes", header.meta.get("descrip", ""))
    if note.startswith(_NOTE):
        origin, has_time = _exact_origin(note, origin)
    direction = header.direction[:ndim, :ndim][:, ::-1]
    spacing, direction = with_unit_axes(header.spacing[:ndim][::-1], direction)
    spacing, origin = tuple(s * unit for s in spacing), tuple(o * unit for o in origin)
    return Grid(header.size[:ndim][::-1], spacing, origin, direction, "millimeter"), has_time


def _frame_interval(header: _Header, told: float | None) -> float | None:
    """Seconds between frames; None where the step is just the default of the format (`told`: NIfTI's own)."""
    step = float(header.spacing[3])
    if told is not None:
        known = int(header.meta.get("xyzt_units", "0")) & _TIME_UNITS
        return step if known and told > 0 else None
    return step if step != 1 else None


def _note(item: Image | LabelMap) -> str:
    """The origin as 64-bit floats in 32 letters or fewer, for NIfTI's description of 79 letters."""
    origin = _in_millimeters(item.grid)[1]
    packed = base64.b64encode(struct.pack(f"<{len(origin)}d", *origin)).decode("ascii")
    return f"{_NOTE}origin={packed} frames={'timed' if item.frame_interval else 'untimed'}"


def _exact_origin(note: str, origin: tuple[float, ...]) -> tuple[tuple[float, ...], bool]:
    """Take the origin out of our note if the header, which others may have changed, agrees with it."""
    words = dict(word.partition("=")[::2] for word in note.removeprefix(_NOTE).split())
    has_time = words.get("frames") != "untimed"
    try:
        packed = base64.b64decode(words.get("origin", ""), validate=True)
        exact = struct.unpack(f"<{len(origin)}d", packed)
    except (struct.error, binascii.Error):
        return origin, has_time
    agrees = np.allclose(exact, origin, rtol=1e-6, atol=1e-6)
    return (exact if agrees else origin), has_time


def _pixels(path: Path, header: _Header, axes: str) -> np.ndarray:
    if _is_nifti(path):
        check_nifti(path, pixels=True)
    try:
        with _quiet():
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO=_reader_name(path)))
    except RuntimeError as error:
        raise _read_error(path, error) from error
    ndim = len(axes) - ("C" in axes)
    array = array.reshape(array.shape[len(header.size) - ndim :])  # drops the leading axes of size 1
    return np.ascontiguousarray(np.moveaxis(array, -1, axes.index("C"))) if "C" in axes else array


def _to_sitk(item: Image | LabelMap) -> Any:
    array = np.asarray(item.array[...])
    if isinstance(item, LabelMap):
        array = array.astype(label_type(LabelMap(array, item.axes))[0])
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    axes = item.axes
    if "C" in axes:
        array, axes = np.moveaxis(array, axes.index("C"), -1), axes.replace("C", "")
    if axes == "TYX":
        array, axes = array[:, None], "TZYX"
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector="C" in item.axes)
    spacing, origin = _in_millimeters(item.grid)
    ndim = len(axes)
    full_spacing, full_origin, full_direction = [1.0] * ndim, [0.0] * ndim, np.eye(ndim)
    used = item.grid.ndim
    full_spacing[:used], full_origin[:used] = spacing[::-1], origin
    full_direction[:used, :used] = item.grid.direction[:, ::-1]
    if "T" in axes:
        full_spacing[3] = item.frame_interval or 1.0
    image.SetSpacing(full_spacing)
    image.SetOrigin(full_origin)
    image.SetDirection(full_direction.ravel().tolist())
    return image


def _in_millimeters(grid: Grid) -> tuple[tuple[float, ...], tuple[float, ...]]:
    factor = 1e-3 if grid.unit == "micrometer" else 1.0
    return tuple(s * factor for s in grid.spacing), tuple(o * factor for o in grid.origin)


def _check_orthonormal(path: Path, grid: Grid) -> None:
    if not np.allclose(grid.direction.T @ grid.direction, np.eye(grid.ndim), rtol=0, atol=1e-5):
        raise OutputError(
            f"'{path}': the axes are not perpendicular unit vectors: {grid.direction.tolist()}.",
            "NIfTI cannot hold that: write .nrrd, or resample the image.",
        )


def _name_data_file(path: Path) -> None:
    """Give the pixels of an .mhd, a file of their own, the name that fits the final name of the header."""
    text = path.read_text(encoding="latin-1")
    for part in path.parent.glob(f"{path.stem}.*raw"):
        name = Path(final_name(path)).stem + part.suffix
        text = text.replace(part.name, name)
        path.write_text(text, encoding="latin-1")
        part.replace(path.parent / name)


def _read_error(path: Path, error: RuntimeError) -> ImageError:
    text = str(error)
    if "orthonormal" in text:
        return ImageError(
            f"'{path}' has axes that are not perpendicular (a sheared or singular orientation).",
            "Resample it on a straight grid, for example in 3D Slicer.",
        )
    return ImageError(f"'{path}' is damaged or cut off ({_reason(text)}).", "Copy or export it again.")


def _write_error(path: Path, image: Any, error: Exception) -> OutputError:
    needed = (
        image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    )
    free = shutil.disk_usage(path.parent).free
    if isinstance(error, ImageError) or "No space" in str(error) or free < needed:
        return OutputError(
            f"'{path}' cannot be written: no space is left in '{path.parent}'.",
            "Free some space or write elsewhere.",
        )
    return OutputError(
        f"'{path}' cannot be written ({_reason(str(error))}).", "Check the folder and the free space."
    )


def _reason(text: str) -> str:
    """The last thing that ITK said, without the address of its object."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "no reason was given"
    return last.rpartition("): ")[2] or last
