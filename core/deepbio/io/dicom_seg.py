"""DICOM segmentations (SEG): label maps with codes, beside the series that they were made from.

A SEG belongs to the patient, study and frame of reference of its source, and DICOM demands that it says so
(:mod:`deepbio.io.dicom_seg_source`). It tells frames apart by segment and position alone in what viewers and
highdicom read, so that a time series becomes one SEG for each time, all of one series.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.errors import DeepBioError, ImageError, MissingPackage, OutputError
from deepbio.events import Listener, Notice, silent
from deepbio.image import LabelMap
from deepbio.io.dicom_files import guarded
from deepbio.io.files import atomic, final_name

if TYPE_CHECKING:
    from deepbio.io.dicom_seg_source import SegSource

__all__ = ["check_seg_source", "write_dicom_seg"]

_TISSUE = {"scheme": "SCT", "value": "85756007", "meaning": "Tissue"}
_NETWORK = {"scheme": "DCM", "value": "123109", "meaning": "Artificial Intelligence"}
_SERIES_NUMBER = 900  # beyond what scanners give
_TIME = re.compile(r"t\d{3,}\.dcm")


def write_dicom_seg(
    path: str | Path,
    labels: LabelMap,
    source: str | Path,
    segments: Mapping[int, Any] | None = None,
    *,
    series: str = "",
    model: str = "",
    version: str = "",
    on_progress: Listener = silent,
) -> None:
    """Write a label map as a DICOM segmentation of the series that it was found in.

    The patient's name, number, birthday and sex, and the study's date and numbers, are copied from the
    source into the file, as DICOM demands.

    Parameters
    ----------
    path : str or Path
        The file to write, ``.dcm``; of a time series the folder, which gets a file for each time:
        ``t001.dcm``, ``t002.dcm``, ...
    labels : LabelMap of shape ([t,] [z,] y, x)
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
    on_progress : Listener
        Hears a notice where the source lacks UIDs that the segmentation must have.

    Raises
    ------
    ImageError
        If the source cannot be read or lacks what a segmentation must refer to, or if the labels are not
        on its grid.
    OutputError
        If the file cannot be written, or is no folder where the source is a time series.
    MissingPackage
        If highdicom is not installed.

    Notes
    -----
    One bit a pixel and segment (BINARY), the kind that all viewers read; slices without the segment are
    left out. Written with highdicom. Each frame refers to the very image, or frame of a multi-frame image,
    that its pixels lie on. The files of a time series are one DICOM series; the time, from 1, is their
    instance number and the temporal position index of their frames.
    """
    path = Path(path)
    found = check_seg_source(source, series, on_progress)
    array = _checked(labels, found)
    numbers = _numbers(array, labels.names, segments or {})
    segment_of = _segment_of(numbers, int(array.max(initial=0)))
    facts = _common(numbers, model, version)
    if found.times == 1:
        with atomic(path) as temporary:
            _save(_build(path, found, 0, segment_of[array[0]], facts), temporary)
    else:
        _write_times(path, found, (segment_of[planes] for planes in array), facts)


def check_seg_source(source: str | Path, series: str = "", on_progress: Listener = silent) -> SegSource:
    """Make sure that a segmentation of this series can be written, before the work of finding one.

    Returns
    -------
    SegSource
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
    from deepbio.io.dicom_seg_source import read_source

    found = read_source(Path(source), series)
    for message in found.notices:
        on_progress(Notice(message, "warning"))
    return found


def _write_times(
    path: Path, source: SegSource, times: Iterable[np.ndarray], facts: Mapping[str, Any]
) -> None:
    """A folder with a file for each time of a series, each of segment numbers (z, y, x)."""
    if path.suffix.lower() == ".dcm":
        raise OutputError(
            f"'{path}': the source has {source.times} times, and each of them becomes a file of its own.",
            "Give the name of a folder, without .dcm.",
        )
    _check_folder(path)
    digits = max(3, len(str(source.times)))
    with atomic(path, is_folder=True) as temporary:
        temporary.mkdir()
        for t, planes in enumerate(times):
            _save(_build(path, source, t, planes, facts), temporary / f"t{t + 1:0{digits}d}.dcm")


def _check_folder(path: Path) -> None:
    """A folder of an earlier segmentation is replaced, but no other."""
    others = [file.name for file in path.iterdir() if not _TIME.fullmatch(file.name)] if path.is_dir() else []
    if others:
        raise OutputError(
            f"The folder '{path}' would be replaced, and has {len(others)} files in it that are no segmentations of "
            "a time.",
            "Give the name of a new folder.",
        )


def _checked(labels: LabelMap, source: SegSource) -> np.ndarray:
    """The labels as (t, z, y, x), if they are on the grid and at the times of the source."""
    times = labels.shape[0] if "T" in labels.axes else 1
    if labels.grid != source.stack.grid or times != source.times:
        raise ImageError(
            f"The labels (axes {labels.axes}, shape {labels.shape}) are not on the grid of the DICOM source "
            f"(axes {source.stack.axes}, shape {source.stack.grid.shape}, times {source.times}).",
            "Give the series that the labels were found in.",
        )
    array = labels.numpy()
    return array.reshape(times, -1, *array.shape[-2:])


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


def _segment_of(numbers: Sequence[tuple[int, Any]], largest: int) -> np.ndarray:
    """The segment number of each label up to the largest of the image, for looking up whole arrays."""
    table = np.zeros(largest + 1, np.min_scalar_type(len(numbers)))
    for segment, (label, _) in enumerate(numbers, 1):
        if label < len(table):
            table[label] = segment
    return table


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


def _common(numbers: Sequence[tuple[int, Mapping[str, Any]]], model: str, version: str) -> dict[str, Any]:
    """What all files of one segmentation say of themselves."""
    import highdicom

    from deepbio import __version__

    versions = (f"deepbio {__version__}", version and f"model {version}")
    return {
        "segmentation_type": "BINARY",
        "series_instance_uid": highdicom.UID(),
        "series_number": _SERIES_NUMBER,
        "manufacturer": "DeepBio",
        "manufacturer_model_name": (model or "DeepBio")[:64],
        "software_versions": tuple(text for text in versions if text),
        "device_serial_number": "0",
        "content_label": "SEGMENTATION",
        "segment_descriptions": [
            _description(segment, facts, model, version) for segment, (_, facts) in enumerate(numbers, 1)
        ],
    }


def _build(path: Path, source: SegSource, time: int, planes: np.ndarray, facts: Mapping[str, Any]) -> Any:
    """The segmentation of one time; plane by plane it lies on the images of that time."""
    import highdicom

    from deepbio.io.dicom_seg_source import images_at

    told = f"Time {time + 1} of {source.times}" if source.times > 1 else None
    try:
        with guarded(path):
            images, numbers = images_at(source, time)
            built = highdicom.seg.Segmentation(
                source_images=images,
                pixel_array=planes,
                sop_instance_uid=highdicom.UID(),
                instance_number=time + 1,
                content_description=told,
                **facts,
            )
            _refine(built, numbers, time + 1 if source.times > 1 else 0)
            return built
    except DeepBioError as error:
        raise ImageError(
            f"'{final_name(path)}' cannot be written: the source lacks what a DICOM segmentation must take over.",
            "Write .nii.gz or .nrrd.",
        ) from error


def _save(built: Any, path: Path) -> None:
    with guarded(path):
        built.save_as(path)


def _refine(built: Any, numbers: list[int], time: int) -> None:
    """Say which frames of a multi-frame file the planes are, and at which time (from 1) all of this lies."""
    groups = built.PerFrameFunctionalGroupsSequence
    derived = [item for group in groups for item in group.get("DerivationImageSequence") or []]
    # segments of a plane share one item: each is changed once
    origins = {id(origin): origin for item in derived for origin in item.SourceImageSequence}
    for origin in origins.values() if numbers else []:
        origin.ReferencedFrameNumber = numbers[int(origin.get("ReferencedFrameNumber") or 1) - 1]
    for group in groups:
        if time:
            group.FrameContentSequence[0].TemporalPositionIndex = time
    shared = built.SharedFunctionalGroupsSequence[0]
    if "PixelMeasuresSequence" in shared and not shared.PixelMeasuresSequence:
        del shared.PixelMeasuresSequence  # the source does not say how large its pixels are
    if "PlaneOrientationSequence" not in shared:
        built.PatientOrientation = ""  # of an image without a place DICOM asks for it, known or not
