"""Outlines of labels as ImageJ ROIs: what ImageJ's own wand would select, in a .zip of the ROI Manager."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepbio.errors import ImageError, MissingPackage
from deepbio.image import Image, LabelMap
from deepbio.io.files import atomic, check_file, first_bytes
from deepbio.io.lut import label_colours
from deepbio.io.outlines import Outline, outlines_of, trace_outlines

if TYPE_CHECKING:
    from roifile import ImagejRoi

__all__ = [
    "Outline", "check_rois", "encode_roi", "is_hyperstack", "outlines_of", "read_rois", "trace_outlines", "write_rois",
]  # fmt: skip

_HIGHEST = 60535  # of the 16-bit coordinates in a ROI: ImageJ reads those above as -5000 to -1
_MOST_POINTS = 2**16 - 1
_MOVE, _LINE, _CLOSE = 0, 1, 4  # as java.awt.geom.PathIterator counts the segments of a path
_DATE = (1980, 1, 1, 0, 0, 0)  # of each entry of a zip: equal labels give equal files
_UNSAFE = re.compile(r'[^ -\uffff]|[/\\:*?"<>|\x7f]')  # in names of files, or beyond what a ROI's name holds
_NAME = re.compile(r"(\d+)(?:-t(\d+))?(?:-z(\d+))?(?: |$)")


def is_hyperstack(image: Image | LabelMap) -> bool:
    """Whether ImageJ opens an image as a hyperstack: with at least two of channels, slices and frames.

    Examples
    --------
    >>> is_hyperstack(Image(np.zeros((3, 1, 5, 7)), "TZYX")), is_hyperstack(Image(np.zeros((3, 2, 5, 7)), "TCYX"))
    (False, True)
    """
    is_colour = isinstance(image, Image) and image.is_rgb
    sizes = zip(image.axes[:-2], image.shape, strict=False)
    return sum(size > 1 for axis, size in sizes if not (axis == "C" and is_colour)) > 1


def check_rois() -> None:
    """Find out before the work whether ROIs can be written.

    Raises
    ------
    MissingPackage
        If roifile is not installed.
    """
    try:
        import roifile  # noqa: F401 - asked for before any work
    except ImportError as error:
        raise MissingPackage("roifile", "Writing ImageJ ROIs", "fiji") from error


def write_rois(path: str | Path, labels: LabelMap, *, hyperstack: bool | None = None) -> None:
    """Write a label map as a .zip for ImageJ's ROI Manager: one ROI for each object of each plane.

    A ROI is called as :attr:`Outline.name` says, for classes followed by the name of the class
    (``"1-z5 left ventricle"``), has the colour of its label, and knows its slice and frame. Of one path
    it is a traced selection, of several (parts, holes) a composite one; measured in ImageJ, its area is
    that of the label's pixels.

    Parameters
    ----------
    path : str or Path
        The file to write, ``.zip``.
    labels : LabelMap
        Objects or classes.
    hyperstack : bool, optional
        Whether the image that the ROIs are shown on is one for ImageJ (:func:`is_hyperstack`), whose
        planes have a slice and a frame; those of other stacks are counted through. By default, whether
        the label map is one.

    Raises
    ------
    MissingPackage
        If roifile is not installed.
    OutputError
        If the file cannot be written.

    Notes
    -----
    A label map without objects gives a .zip without entries: the file is there, as for any other image.
    ImageJ does not open it, but says that it holds no ROI.
    """
    check_rois()
    depth = labels.shape[labels.axes.index("Z")] if "Z" in labels.axes else 1
    counted = labels.axes != "YX" and not (is_hyperstack(labels) if hyperstack is None else hyperstack)
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for outline in outlines_of(labels):
            position = (outline.t or 0) * depth + (outline.z or 0) + 1 if counted else None
            name = _UNSAFE.sub("_", f"{outline.name} {labels.names.get(outline.label, '')}".strip())
            entry = zipfile.ZipInfo(f"{name}.roi", _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, encode_roi(outline, name, position=position))


def encode_roi(outline: Outline, name: str = "", *, position: int | None = None) -> bytes:
    """Encode an outline as the bytes of a .roi file.

    Parameters
    ----------
    outline : Outline
        With at least one path.
    name : str
        The ROI's name; by default the outline's.
    position : int, optional
        Number of the plane in its stack, from 1. By default `z` and `t` of the outline are written, as
        hyperstacks need them, for all channels.

    Returns
    -------
    bytes
    """
    from roifile import ROI_TYPE, ImagejRoi

    points = np.concatenate(outline.paths)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    roi = ImagejRoi(
        name=name or outline.name, left=left, top=top, right=right, bottom=bottom, stroke_color=_colour(outline.label)
    )  # fmt: skip
    if position is not None:
        roi.position = position
    else:
        roi.z_position = 0 if outline.z is None else outline.z + 1
        roi.t_position = 0 if outline.t is None else outline.t + 1
    if len(outline.paths) == 1 and len(points) <= _MOST_POINTS and max(right, bottom) <= _HIGHEST:
        roi.roitype = ROI_TYPE.TRACED
        roi.n_coordinates = len(points)
        roi.integer_coordinates = points - (left, top)
    else:
        roi.roitype = ROI_TYPE.RECT  # ImageJ demands it of composites
        roi.multi_coordinates = np.concatenate([_segments(path) for path in outline.paths])
        roi.shape_roi_size = len(roi.multi_coordinates)
    return roi.tobytes()


def _colour(label: int) -> bytes:
    """Opaque ARGB of a label, as in the LUT of the labels and in the overlay."""
    return bytes([255, *label_colours()[:, (label - 1) % 255 + 1].tolist()])


def _segments(path: np.ndarray) -> np.ndarray:
    """A closed path as ImageJ's composites hold it: kind, x, y of each segment; exact up to 16,777,216."""
    steps = np.empty((len(path), 3), np.float32)
    steps[:, 0] = _LINE
    steps[0, 0] = _MOVE
    steps[:, 1:] = path
    return np.append(steps.ravel(), np.float32(_CLOSE))


def read_rois(path: str | Path) -> list[Outline]:
    """Read the outlines that :func:`write_rois` wrote, in the order of the file.

    Raises
    ------
    ImageError
        If it is no .zip, or holds what is not an outline of a label.
    MissingPackage
        If roifile is not installed.
    """
    check_rois()
    from roifile import ImagejRoi

    path = Path(path)
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            rois = [ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise ImageError(f"'{path}' is no zip of ROIs: {first_bytes(path)}.") from error
    except ValueError as error:
        raise ImageError(f"'{path}' holds what is not an ImageJ ROI: {error}.") from error
    return [_outline(path, roi) for roi in rois]


def _outline(path: Path, roi: ImagejRoi) -> Outline:
    """The outline that a ROI was made of; slice and frame stand in its name, whatever the kind of stack."""
    named = _NAME.match(roi.name)
    if named is None or (roi.integer_coordinates is None and roi.multi_coordinates is None):
        raise ImageError(
            f"'{path}': the ROI {roi.name!r} is not the outline of a label.",
            "Read a .zip that deepbio wrote.",
        )
    label, t, z = (None if number is None else int(number) for number in named.groups())
    paths = [np.asarray(part, np.int32) for part in roi.coordinates(multi=True)]
    if roi.multi_coordinates is not None:
        paths = [part[:-1] for part in paths]  # closed by its first point
    return Outline(label or 0, tuple(paths), None if z is None else z - 1, None if t is None else t - 1)
