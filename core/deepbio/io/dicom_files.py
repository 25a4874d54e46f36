"""DICOM files and the series that they make up: found, listed, chosen.

Only the tags that are listed here are ever read from a file, so a patient's name, number, birthday or
comment cannot get into a message, a log or a result. :mod:`deepbio.io.dicom_seg_source` is the one exception:
a DICOM segmentation must carry the patient of its source.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepbio.errors import ImageError
from deepbio.io.files import first_bytes
from deepbio.io.formats import FORMATS

__all__ = [
    "HEADER_TAGS", "Series", "choose_series", "describe", "guarded", "is_dicom", "is_dicom_folder", "list_series",
    "read_header",
]  # fmt: skip

_MAGIC_AT, _MAGIC = 128, b"DICM"
_INDEX_NAME = "Media Storage Directory"  # DICOMDIR
_NO_IMAGES = (
    "SEG",
    "RTSTRUCT",
    "RTPLAN",
    "RTDOSE",
    "SR",
    "PR",
    "KO",
    "ECG",
    "REG",
    "DOC",
    "AU",
    "FID",
)

_DAMAGE = (  # what pydicom raises on damaged files, besides its own errors
    ValueError, RuntimeError, struct.error, LookupError, EOFError, AttributeError, TypeError, ArithmeticError,
)  # fmt: skip

_LISTED = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
_IMAGE = (
    "SOPInstanceUID", "FrameOfReferenceUID", "ImageType", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "SequenceOfUltrasoundRegions",
    "GridFrameOffsetVector", "DoseGridScaling", "DoseUnits",
    "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "FrameReferenceTime",
    "FrameTime", "FrameTimeVector", "CineRate", "EchoTime", "DiffusionBValue", "AcquisitionNumber",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_SEGMENTS = ("SegmentationType", "SegmentSequence")
HEADER_TAGS = (*_LISTED, *_IMAGE, *_SEGMENTS)  # all that is read where nothing else is said


@dataclass(frozen=True)
class Series:
    """The files of one DICOM series in a folder.

    Attributes
    ----------
    folder : Path
        Where they are (a file that was named alone: the file).
    number : int
        From 1, in the order of the list: ``"#1"`` chooses it.
    uid : str
        Series instance UID; empty where the files have none.
    modality : str
        DICOM code, such as ``"CT"``.
    kind : str
        What DICOM calls such objects, such as ``"CT Image"``.
    files : tuple of Path
        By name; the order has no meaning.
    rows, columns : int
        Size of the first image; 0 for what is no image.
    """

    folder: Path
    number: int
    uid: str
    modality: str
    kind: str
    files: tuple[Path, ...]
    rows: int = 0
    columns: int = 0

    @property
    def is_image(self) -> bool:
        """Whether these are pictures: no report, contours or plan, and no dose or segmentation of a scan."""
        return self.rows > 0 and self.modality not in _NO_IMAGES

    def __str__(self) -> str:
        size = f"{self.rows} x {self.columns}, " if self.rows else ""
        count = f"{len(self.files)} file{'s' * (len(self.files) != 1)}"
        return f"#{self.number}: {self.modality or 'no modality'}, {size}{count}, UID {self.uid or 'missing'}"


def is_dicom(path: Path) -> bool:
    """Whether a file has the letters DICM behind the first 128 bytes, whatever its name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "IM0001")
    ...     _ = file.write_bytes(bytes(128) + b"DICM")
    ...     is_dicom(file), is_dicom(Path(folder, "missing"))
    (True, False)
    """
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:  # a folder, or no right to read: whoever opens it will say so
        return False


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder has DICOM files in it, or the index of an exported disc (DICOMDIR)."""
    return folder.is_dir() and any(is_dicom(file) for file in _candidates(folder))


def list_series(path: str | Path) -> tuple[Series, ...]:
    """List the DICOM series of a folder, images before other objects.

    The files in the folder itself count; where it is an exported disc (it has a ``DICOMDIR``), those in
    the folders below as well.

    Parameters
    ----------
    path : str or Path
        A folder, or one DICOM file.

    Returns
    -------
    tuple of Series
        In the order of their series number and UID; empty where nothing is DICOM.

    Raises
    ------
    ImageError
        If a DICOM file is damaged.
    """
    path = Path(path)
    groups: dict[tuple[int, str, str, str], list[Path]] = {}
    sizes: dict[tuple[int, str, str, str], tuple[int, int]] = {}
    for file in [path] if path.is_file() else _candidates(path):
        if is_dicom(file):
            key, size = _membership(file)
            if key[3] != _INDEX_NAME:
                groups.setdefault(key, []).append(file)
                sizes.setdefault(key, size)
    found = [
        Series(path, 0, uid, modality, kind, tuple(files), *sizes[_, uid, modality, kind])
        for (_, uid, modality, kind), files in sorted(groups.items())
    ]
    found.sort(key=lambda series: not series.is_image)  # stable: each half keeps its order
    return tuple(replace(series, number=number) for number, series in enumerate(found, 1))


def _membership(file: Path) -> tuple[tuple[int, str, str, str], tuple[int, int]]:
    """What series a file belongs to (its number, UID, modality and kind), and the size of its images."""
    header = read_header(file, _LISTED)
    with guarded(file):
        key = (
            int(header.get("SeriesNumber") or 0),
            str(header.get("SeriesInstanceUID") or ""),
            str(header.get("Modality") or ""),
            describe(header),
        )
        return key, (int(header.get("Rows") or 0), int(header.get("Columns") or 0))


def choose_series(path: Path, wanted: str = "") -> Series:
    """Find the one series that is meant.

    Parameters
    ----------
    path : Path
        A DICOM file or a folder of such.
    wanted : str
        A series UID, the beginning of one, or ``"#2"`` for the second of the list. Empty where there is
        but one series of images.

    Raises
    ------
    ImageError
        If there is none, or it is not clear which; the message lists them.
    """
    series = list_series(path)
    if not series and is_dicom(path):
        raise ImageError(
            f"'{path}' is the index of an exported disc, no image.", "Name the folder that it is in."
        )
    if not series and path.is_file():
        raise ImageError(
            f"'{path}' is not a DICOM file: {first_bytes(path)}, and the letters DICM are missing behind its "
            "first 128 bytes.",
            "Check the suffix, or export it again.",
        )
    if not series:
        raise ImageError(
            f"The folder '{path}' has no DICOM file.", "Name the folder with the files of the series."
        )
    images = [one for one in series if one.is_image]
    if not wanted:
        if len(images) == 1:
            return images[0]
        if not images and len(series) == 1:
            return series[0]  # a segmentation, or something whose own error says what it is
        if not images:
            raise ImageError(
                f"'{path}' has no images, but:{_listed(series)}",
                "Name the folder of a scan, or with --series a dose or a segmentation.",
            )
        raise ImageError(
            f"'{path}' has {len(images)} series of images; expected one:{_listed(series)}",
            "Choose one with --series UID, the beginning of its UID, or #1 (in Python series='#1').",
        )
    if wanted.startswith("#"):
        fitting = [one for one in series if str(one.number) == wanted[1:]]
    else:
        fitting = [one for one in series if one.uid == wanted]
        fitting = fitting or [one for one in series if one.uid.startswith(wanted)]
    if len(fitting) != 1:
        found = "no series" if not fitting else f"{len(fitting)} series"
        raise ImageError(
            f"'{path}' has {found} {wanted!r}:{_listed(series)}", "Give the whole UID, or its number as #1."
        )
    return fitting[0]


def describe(header: Any) -> str:
    """Say what an object is, such as ``"Comprehensive SR"``, from the UID of its class."""
    from pydicom.uid import UID

    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""
    return UID(kind).name.removesuffix(" Storage") or "of unknown kind"


def _listed(series: tuple[Series, ...]) -> str:
    return "".join(f"\n  {one}" for one in series) + "\n"


def _candidates(folder: Path) -> Iterator[Path]:
    """Files that may be DICOM, by name: not hidden ones, nor those named as another format."""
    deep = any(file.name.upper() == "DICOMDIR" for file in folder.iterdir())
    files = sorted(folder.rglob("*") if deep else folder.iterdir())
    others = tuple(suffix for form in FORMATS for suffix in form.suffixes if form.name != "DICOM")
    return (
        file
        for file in files
        if not file.name.startswith(".") and not file.name.lower().endswith(others) and file.is_file()
    )


def read_header(path: Path, tags: tuple[str, ...] = HEADER_TAGS) -> Any:
    """Read the tags that are needed, and no others; the pixels are not read.

    Returns
    -------
    pydicom.FileDataset

    Raises
    ------
    ImageError
        If the file is damaged.
    """
    import pydicom

    with guarded(path):
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags))


@contextmanager
def _unheard(name: str) -> Iterator[None]:
    """Keep a package's log to itself: highdicom logs the names of patients that it finds oddly written."""
    logger, silent = logging.getLogger(name), logging.NullHandler()
    before = logger.propagate
    logger.addHandler(silent)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(silent)


@contextmanager
def guarded(path: Path, *, pixels: bool = False) -> Iterator[None]:
    """Keep pydicom's warnings and the words of its errors, which may hold values of the file, to itself.

    Parameters
    ----------
    path : Path
        The file, for the message.
    pixels : bool
        Whether only pixels are decoded inside: then the reason is told.
    """
    from pydicom import config
    from pydicom.errors import BytesLengthException

    try:
        with (
            warnings.catch_warnings(),
            config.disable_value_validation(),
            _unheard("pydicom"),
            _unheard("highdicom"),
        ):
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except (*_DAMAGE, BytesLengthException) as error:
        reason = " ".join(str(error).split()) if pixels else type(error).__name__
        raise ImageError(
            f"'{path}' is damaged or not as the DICOM standard says ({reason}).",
            "Export it again, or send it once more from the archive.",
        ) from (error if pixels else None)  # a traceback would show the error's words
