"""The images that a DICOM segmentation refers to, as highdicom takes them.

Here, and only here, what DICOM demands about the patient and the study is read: it goes into the segmentation
and nowhere else. What DICOM merely allows (comments, addresses, institutions) stays behind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbio.errors import ImageError
from deepbio.io.dicom_files import HEADER_TAGS, choose_series, guarded, read_header

if TYPE_CHECKING:
    from deepbio.io.dicom_frames import Frame
    from deepbio.io.dicom_geometry import Stack

__all__ = ["SegSource", "images_at", "read_source"]

_REFERRED = {"SOPInstanceUID": "MediaStorageSOPInstanceUID", "SOPClassUID": "MediaStorageSOPClassUID"}
_COMMON = ("StudyInstanceUID", "SeriesInstanceUID")
_PLACE = "FrameOfReferenceUID"
_SHOWN = {"StudyInstanceUID": "studies", "SeriesInstanceUID": "series", _PLACE: "frames of reference"}
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames")


@dataclass(frozen=True, eq=False)
class SegSource:
    """A series that can have a segmentation.

    Attributes
    ----------
    folder : Path
        The folder, or the file.
    headers : dict of Path to pydicom.Dataset
        What DICOM demands of each file, the patient's data with it.
    frames : list of Frame
        As :func:`deepbio.io.dicom_frames.read_frames` gives them.
    stack : Stack
        How they are arranged.
    notices : tuple of str
        What the user should know of UIDs that the files do not have.
    """

    folder: Path
    headers: dict[Path, Any] = field(repr=False)  # so that no log or traceback shows the patient
    frames: list[Frame]
    stack: Stack
    notices: tuple[str, ...] = ()

    @property
    def times(self) -> int:
        """How many images there are at each position; 1 where the series has no time axis."""
        return len(self.stack.order) if "T" in self.stack.axes else 1


def read_source(path: Path, series: str = "") -> SegSource:
    """Read the headers of a series and make whole what a segmentation must take over from them.

    Raises
    ------
    ImageError
        If it cannot be read, is no regular stack, or cannot be referred to.
    """
    from deepbio.io.dicom import series_frames  # brings pydicom: not needed for other formats

    chosen = choose_series(path, series)
    frames, stack = series_frames(chosen)
    tags = (*HEADER_TAGS, *_COMMON, *_REFERRED, *_MAY_BE_EMPTY)
    headers = {file: read_header(file, tags) for file in dict.fromkeys(frame.file for frame in frames)}
    with guarded(chosen.folder):
        named = [_refer(file, header) for file, header in headers.items()]
        _check_files(chosen.folder, headers, frames, stack)
        made = [name for name in _COMMON if _agree(chosen.folder, headers.values(), name)]
        if stack.grid.ndim == 3:
            made += [_PLACE] if _agree_on_place(chosen.folder, headers, frames, stack) else []
            _describe_planes(headers, frames, stack)
        for header in headers.values():
            _complete(header)
    return SegSource(chosen.folder, headers, frames, stack, _notices(chosen.folder, made, all(named)))


def images_at(source: SegSource, time: int) -> tuple[list[Any], list[int]]:
    """The images of one time, one for each plane in order of the slices.

    Returns
    -------
    (list of pydicom.Dataset, list of int)
        The headers of single images, or of one multi-frame image with the planes of this time alone; and,
        of the latter, the numbers from 1 that the planes have in the file (else empty).
    """
    frames = [source.frames[number] for number in source.stack.order[time]]
    if not _is_multi_frame(source.headers[frames[0].file]):
        return [source.headers[frame.file] for frame in frames], []
    image = _planes_of(source.headers[frames[0].file], frames, source.stack)
    return [image], [frame.index + 1 for frame in frames]


def _is_multi_frame(header: Any) -> bool:
    """Whether the object is of a kind that can hold several frames, as highdicom decides it."""
    from highdicom.image import is_multiframe_image

    return bool(header.get("NumberOfFrames")) or is_multiframe_image(header)


def _check_files(folder: Path, headers: dict[Path, Any], frames: Sequence[Frame], stack: Stack) -> None:
    """Of objects that can hold several frames, highdicom takes one."""
    for numbers in stack.order:
        files = {frames[number].file for number in numbers}
        if len(files) > 1 and any(_is_multi_frame(headers[file]) for file in files):
            raise ImageError(
                f"The slices of '{folder}' are in {len(files)} files of a multi-frame kind; a DICOM segmentation is "
                "written of one such file, or of one for each time.",
                "Write .nii.gz.",
            )


def _refer(file: Path, header: Any) -> bool:
    """Have the UIDs by which an image is referred to, from the file's own header where they were emptied.

    Returns whether they were there.
    """
    there = True
    for name, twin in _REFERRED.items():
        if header.get(name):
            continue
        value = header.file_meta.get(twin)
        if not value:
            raise ImageError(
                f"'{file}' has no {name}, neither in its data set nor in its file header: a DICOM segmentation "
                "cannot refer to it.",
                "Write .nii.gz, or give each file a UID of its own (for example with 'dcmodify -gin').",
            )
        there = False
        setattr(header, name, value)
    return there


def _agree(folder: Path, headers: Collection[Any], name: str) -> bool:
    """Have one UID for all files: theirs, or a new one where none has any. Returns whether it is new.

    A new one follows from the UIDs of the images alone, so that all segmentations of a series agree.
    """
    from pydicom.uid import generate_uid

    found = _found(headers, name)
    if len(found) > 1:
        raise ImageError(
            f"The {len(headers)} files of '{folder}' name {len(found)} different {_SHOWN[name]}; a DICOM "
            "segmentation has one.",
            f"Write .nii.gz or .nrrd; an anonymiser that keeps {name} would help.",
        )
    images = sorted(str(header.SOPInstanceUID) for header in headers)
    uid = min(found) if found else generate_uid(entropy_srcs=[name, *images])
    for header in headers:
        setattr(header, name, uid)
    return not found


def _agree_on_place(folder: Path, headers: dict[Path, Any], frames: Sequence[Frame], stack: Stack) -> bool:
    """Have one frame of reference for all files or, where they differ, for those of each time."""
    if len(_found(headers.values(), _PLACE)) <= 1:
        return _agree(folder, headers.values(), _PLACE)
    times = [{frames[number].file for number in numbers} for numbers in stack.order]
    return any([_agree(folder, [headers[file] for file in sorted(files)], _PLACE) for files in times])  # noqa: C419


def _found(headers: Collection[Any], name: str) -> set[str]:
    return {str(header.get(name)) for header in headers if header.get(name)}


def _notices(folder: Path, made: Sequence[str], named: bool) -> tuple[str, ...]:
    found = []
    if made:
        ours = ", ".join(made)
        apart = "StudyInstanceUID" in made
        found.append(
            f"The files of '{folder}' have no {ours}; the DICOM segmentation gets new ones"
            + (", so an archive (PACS) files it as a study of its own." if apart else ".")
            + " To keep both together, give the same ones to all files of the scan first (for example with "
            "'dcmodify -i')."
        )
    if not named:
        found.append(
            f"The files of '{folder}' have no SOPInstanceUID or SOPClassUID in their data; the DICOM segmentation "
            "refers to them by those of their file headers."
        )
    return tuple(found)


def _complete(header: Any) -> None:
    """Leave empty, as DICOM allows, what the source lacks about patient and study or has in no valid form."""
    from pydicom.valuerep import DA, TM

    for name in _MAY_BE_EMPTY:
        value = header.get(name)
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
            setattr(header, name, "")


def _describe_planes(headers: dict[Path, Any], frames: Sequence[Frame], stack: Stack) -> None:
    """Have the same orientation and sizes in all single images, where those of the stack are known better."""
    first = headers[frames[0].file]
    for header in headers.values():
        if _is_multi_frame(header):
            continue
        header.ImageOrientationPatient = first.ImageOrientationPatient  # equal but for rounding
        if not header.get("PixelSpacing"):
            header.PixelSpacing = _decimals(stack.grid.spacing[1:])
        if not header.get("SliceThickness"):
            header.SliceThickness = _decimals(stack.grid.spacing[:1])[0]
        if stack.order.shape[1] > 1:  # that of the positions: headers are often wrong
            header.SpacingBetweenSlices = _decimals(stack.grid.spacing[:1])[0]


def _planes_of(header: Any, frames: Sequence[Frame], stack: Stack) -> Any:
    """A multi-frame image as if it had these frames only, in this order."""
    from pydicom import Dataset

    image = Dataset()
    image.update({tag: header[tag] for tag in header.keys()})  # noqa: SIM118 - a Dataset iterates over elements
    for name in _GROUPS:
        image.pop(name, None)
    shared, measures = Dataset(), Dataset()
    if stack.grid.unit == "millimeter":
        measures.PixelSpacing = _decimals(stack.grid.spacing[-2:])
    if stack.grid.ndim == 3:
        measures.SliceThickness = _decimals([frames[0].depth or stack.grid.spacing[0]])[0]
        if len(frames) > 1:
            measures.SpacingBetweenSlices = _decimals(stack.grid.spacing[:1])[0]
        axes = stack.grid.direction
        orientation = Dataset()
        orientation.ImageOrientationPatient = _decimals([*axes[:, 2], *axes[:, 1]])
        shared.PlaneOrientationSequence = [orientation]
        image.PerFrameFunctionalGroupsSequence = [_place(frame) for frame in frames]
    shared.PixelMeasuresSequence = [measures] if len(measures) else []
    image.SharedFunctionalGroupsSequence = [shared]
    image.NumberOfFrames = len(frames)
    return image


def _place(frame: Frame) -> Any:
    from pydicom import Dataset

    group, position = Dataset(), Dataset()
    position.ImagePositionPatient = _decimals(frame.position)  # type: ignore[arg-type]  # it is in a stack
    group.PlanePositionSequence = [position]
    return group


def _decimals(numbers: Sequence[float]) -> list[Any]:
    """Numbers in as many digits as DICOM's decimal strings have room for."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(number), auto_format=True) for number in numbers]
