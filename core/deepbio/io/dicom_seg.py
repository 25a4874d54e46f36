"""DICOM segmentations (SEG): label maps with codes, beside the series that they were made from.

A SEG belongs to the patient, study and frame of reference of its source, and DICOM demands that it says
so: here, and only here, what it demands about the patient and the study is copied from the source files,
into the SEG and nowhere else. What it merely allows (comments, addresses, institutions) stays behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.errors import DeepBioError, ImageError, MissingPackage
from deepbio.image import Grid, Image, LabelMap
from deepbio.io.dicom_files import HEADER_TAGS, Series, choose_series, guarded, read_header
from deepbio.io.files import atomic

if TYPE_CHECKING:
    from deepbio.io.dicom_frames import Frame
    from deepbio.io.dicom_geometry import Stack

__all__ = ["check_seg_source", "read_seg", "write_dicom_seg"]

_TISSUE = {"scheme": "SCT", "value": "85756007", "meaning": "Tissue"}
_NETWORK = {"scheme": "DCM", "value": "123109", "meaning": "Artificial Intelligence"}
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_SERIES_NUMBER = 900  # beyond what scanners give


def write_dicom_seg(
    path: str | Path,
    labels: LabelMap,
    source: str | Path,
    segments: Mapping[int, Any] | None = None,
    *,
    series: str = "",
    model: str = "",
    version: str = "",
) -> None:
    """Write a label map as a DICOM segmentation of the series that it was found in.

    The patient's name, number, birthday and sex, and the study's date and numbers, are copied from the
    source into the file, as DICOM demands.

    Parameters
    ----------
    path : str or Path
        The file to write, ``.dcm``.
    labels : LabelMap of shape ([1,] z, y, x)
        On the grid of the source. Label numbers 1, 2, ... become segment numbers; numbers with gaps are
        counted through.
    source : str or Path
        The DICOM file or folder.
    segments : mapping, optional
        For each label its name, or a mapping with ``name``, ``color`` (``"#e6194b"``) and the codes
        ``category``, ``type`` and ``modifier`` (each ``scheme``, ``value``, ``meaning``), as ``classes``
        on a model card. By default the names of `labels`, coded as SNOMED CT "Tissue".
    series : str
        Which series of the folder, as for :func:`deepbio.io.read`.
    model, version : str
        The model that found them.

    Raises
    ------
    ImageError
        If the source cannot be read, lacks what a segmentation must refer to or is a time series, or if
        the labels are not on its grid.
    OutputError
        If the file cannot be written.
    MissingPackage
        If highdicom is not installed.

    Notes
    -----
    One bit a pixel and segment (BINARY), the kind that all viewers read; slices without the segment are
    left out. Written with highdicom.
    """
    path = Path(path)
    datasets, stack = check_seg_source(source, series)
    array = _checked(labels, stack)
    numbers = _numbers(array, labels.names, segments or {})
    table = np.zeros(int(array.max(initial=0)) + 1, np.min_scalar_type(len(numbers)))
    for segment, (label, _) in enumerate(numbers, 1):
        if label < len(table):
            table[label] = segment
    described = [
        _description(segment, facts, model, version) for segment, (_, facts) in enumerate(numbers, 1)
    ]
    with atomic(path) as temporary:
        _build(path, datasets, stack, table[array], described, (model, version)).save_as(temporary)


def check_seg_source(source: str | Path, series: str = "") -> tuple[list[Any], Stack]:
    """Make sure that a segmentation of this series can be written, before the work of finding one.

    Returns
    -------
    (list of pydicom.Dataset, Stack)
        The headers of its files, the patient's data with them, and how its frames are arranged.

    Raises
    ------
    ImageError, MissingPackage
        As :func:`write_dicom_seg`.
    """
    try:
        import highdicom  # noqa: F401 - asked for before any work
    except ImportError as error:
        raise MissingPackage("highdicom", "Writing DICOM segmentations", "dicom") from error
    from deepbio.io.dicom import series_frames  # brings pydicom: not needed for other formats

    chosen = choose_series(Path(source), series)
    frames, stack = series_frames(chosen)
    if "T" in stack.axes:
        raise ImageError(
            f"'{source}' is a time series: a DICOM segmentation of it is not supported.",
            "Write .nii.gz, or segment one time.",
        )
    return _headers(chosen, frames), stack


def read_seg(series: Series) -> Image:
    """Read a segmentation as an image of its segment numbers; ``meta["labels"]`` has their names.

    The grid reaches from the first to the last slice that any segment is in.

    Raises
    ------
    ImageError
        If segments overlap, are fractional, or their frames are no regular stack.
    """
    if len(series.files) != 1:
        raise ImageError(
            f"'{series.folder}' has {len(series.files)} segmentations; expected one.",
            "Name one of the files.",
        )
    file = series.files[0]
    from deepbio.io.dicom_frames import read_frames

    frames = read_frames(series.files)
    header = read_header(file)
    with guarded(file):
        kind = str(header.get("SegmentationType") or "BINARY")
        names = {int(item.SegmentNumber): str(item.SegmentLabel) for item in header.SegmentSequence}
        owners = [0] * len(frames) if kind == "LABELMAP" else _owners(header, len(frames))
    if kind not in ("BINARY", "LABELMAP"):
        raise ImageError(f"'{file}' holds probabilities (a {kind} segmentation), not labels.")
    places, grid = _places(file, frames)
    array = np.zeros(grid.shape, np.uint8 if max(names, default=0) < 256 else np.uint16)
    with guarded(file, pixels=True):
        import pydicom
        from pydicom.pixels import pixel_array

        pixels = pixel_array(pydicom.dcmread(file)).reshape(len(frames), *grid.shape[1:])
    for plane, owner, place in zip(pixels, owners, places, strict=True):
        _paint(file, array[place], plane, owner)
    return Image(array, "ZYX", grid, meta={"modality": "SEG", "series_uid": series.uid, "labels": names})


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


def _places(file: Path, frames: Sequence[Frame]) -> tuple[list[int], Grid]:
    """The slice of each frame, and the grid of all: slices without any segment are not in the file."""
    first = frames[0]
    if any(frame.position is None or frame.axes is None or frame.spacing is None for frame in frames):
        raise ImageError(f"'{file}' does not say where its segments are.", "Export it again.")
    axes = np.asarray(first.axes)
    normal = np.cross(axes[:, 1], axes[:, 0])
    positions = np.array([frame.position for frame in frames])
    along = positions @ normal
    steps = np.diff(np.unique(np.round(along, 3)))
    step = float(steps.min()) if len(steps) else first.depth or 1.0
    if first.depth and abs(first.depth - step) < 0.02 * step:
        step = first.depth  # the file's own number is more exact than a difference
    index = (along - along.min()) / step
    if len(steps) and np.abs(index - np.rint(index)).max() > 0.05:
        raise ImageError(f"The slices of '{file}' are not evenly spaced.", "Resample it in 3D Slicer.")
    places = [round(float(i)) for i in index]
    origin = positions[int(along.argmin())]
    rows, columns, _ = first.shape
    spacing = (step, *(first.spacing or ()))
    grid = Grid(
        (max(places) + 1, rows, columns),
        spacing,
        tuple(origin),
        np.column_stack([normal, axes]),
        "millimeter",
    )
    return places, grid


def _checked(labels: LabelMap, stack: Stack) -> np.ndarray:
    """The labels as (z, y, x), if they are on the grid of the source."""
    if labels.grid != stack.grid or "T" in labels.axes:
        raise ImageError(
            f"The labels (axes {labels.axes}, shape {labels.shape}) are not on the grid of the DICOM source "
            f"(shape {stack.grid.shape}).",
            "Give the series that the labels were found in.",
        )
    array = labels.numpy()
    return array.reshape(-1, *array.shape[-2:])


def _numbers(
    array: np.ndarray, names: Mapping[int, str], segments: Mapping[int, Any]
) -> list[tuple[int, dict[str, Any]]]:
    """Labels in order with what is known of them; those of the card even where the image has none."""
    present = {int(label) for label in np.unique(array) if label}
    known = {int(label): facts for label, facts in segments.items() if int(label) > 0}
    found = []
    for label in sorted(present | set(known)):
        facts = known.get(label, {})
        facts = {"name": facts} if isinstance(facts, str) else dict(facts)
        facts.setdefault("name", names.get(label, f"Segment {label}"))
        found.append((label, facts))
    if not found:
        raise ImageError(
            "The label map has no labels and no classes: a DICOM segmentation needs a segment.",
            "Give 'segments', or write another format.",
        )
    return found


def _headers(series: Series, frames: Sequence[Frame]) -> list[Any]:
    """The source's headers with what DICOM demands about patient and study: the only place where it is read."""
    found = []
    for file in dict.fromkeys(frame.file for frame in frames):
        with guarded(file):
            dataset = read_header(file, (*HEADER_TAGS, *_NEEDED, *_MAY_BE_EMPTY))
            missing = [name for name in _NEEDED if not dataset.get(name)]
        if missing:
            raise ImageError(
                f"'{file}' has no {', '.join(missing)}, which a DICOM segmentation refers to.",
                "Write another format, or give the source new UIDs (for example with 'dcmodify -gst -gse -gin').",
            )
        with guarded(file):
            _complete(dataset)
        found.append(dataset)
    references = {str(dataset.get("FrameOfReferenceUID") or "") for dataset in found}
    if len(references) > 1:
        raise ImageError(
            f"The {len(found)} files of '{series.folder}' name {len(references)} different frames of reference; "
            "a DICOM segmentation has one.",
            "Write .nii.gz or .nrrd; an anonymiser that keeps the frame of reference would help.",
        )
    return found


def _complete(dataset: Any) -> None:
    """Leave empty, as DICOM allows, what the source lacks about patient and study or has in no valid form."""
    from pydicom.valuerep import DA, TM

    for name in _MAY_BE_EMPTY:
        value = dataset.get(name)
        try:
            if value and name.endswith("Date"):
                DA(value)
            elif value and name.endswith("Time"):
                TM(value)
        except (ValueError, TypeError):  # such as the birthday 00000000 of some anonymisers
            value = None
        if name == "PatientSex" and value not in ("M", "F", "O"):
            value = None
        if not value:
            setattr(dataset, name, "")


def _description(segment: int, facts: Mapping[str, Any], model: str, version: str) -> Any:
    import highdicom

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model or "DeepBio", family=_code(_NETWORK), version=version or "1"
    )
    color = facts.get("color")
    found = highdicom.seg.SegmentDescription(
        segment_number=segment,
        segment_label=str(facts["name"])[:64],
        segmented_property_category=_code(facts.get("category") or _TISSUE),
        segmented_property_type=_code(facts.get("type") or _TISSUE),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=None if color is None else highdicom.color.CIELabColor.from_string(str(color)),
    )
    if facts.get("modifier"):
        item = found.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [_code(facts["modifier"])]
    return found


def _code(code: Mapping[str, str]) -> Any:
    import highdicom

    return highdicom.sr.CodedConcept(str(code["value"]), str(code["scheme"]), str(code["meaning"]))


def _build(
    path: Path, datasets: list[Any], stack: Stack, array: np.ndarray, described: list[Any], made_by: tuple[str, str]
) -> Any:  # fmt: skip
    import highdicom

    from deepbio import __version__

    grid, model = stack.grid, made_by[0] or "DeepBio"
    pixels: Any = array
    if grid.ndim == 3:
        affine = np.eye(4)
        affine[:3, :3] = grid.direction * grid.spacing
        affine[:3, 3] = grid.origin
        reference = datasets[0].get("FrameOfReferenceUID")
        pixels = highdicom.Volume(array, affine, "PATIENT", frame_of_reference_uid=reference)
    versions = tuple(
        text for text in (f"deepbio {__version__}", made_by[1] and f"model {made_by[1]}") if text
    )
    try:
        with guarded(path):
            return highdicom.seg.Segmentation(
                source_images=datasets,
                pixel_array=pixels,
                segmentation_type="BINARY",
                segment_descriptions=described,
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="DeepBio",
                manufacturer_model_name=model[:64],
                software_versions=versions,
                device_serial_number="0",
                content_label="SEGMENTATION",
            )
    except DeepBioError as error:
        reason = type(error.__cause__ or error).__name__
        raise ImageError(
            f"'{path}' cannot be written: the source lacks what a DICOM segmentation must take over ({reason}).",
            "Write .nii.gz or .nrrd.",
        ) from error
