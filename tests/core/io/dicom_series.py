"""DICOM series made for tests: of any grid, with a planted patient who must not show up anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from deepbio.image import Grid

ROOT = "1.2.826.0.1.3680043.10.1"
PATIENT = {
    "PatientName": "Zaphod^Beeblebrox",
    "PatientID": "PHI-4711",
    "PatientBirthDate": "19790112",
    "PatientSex": "M",
    "PatientComments": "Heart-of-Gold",
    "InstitutionName": "Magrathea-Clinic",
    "ReferringPhysicianName": "Trillian^Astra",
    "StudyDate": "20010509",
    "StudyTime": "121314",
    "StudyDescription": "Improbability-Study",
    "SeriesDescription": "Babelfish-Series",
    "AccessionNumber": "ACC-424242",
    "StudyID": "STUDY-99",
    "OperatorsName": "Marvin^Paranoid",
}
SECRETS = tuple(word for value in PATIENT.values() for word in value.split("^") if len(word) > 5)


def base(uid: str, kind: str = CTImageStorage, modality: str = "CT", series: str = "1") -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = kind, uid, modality
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.1.{series}"
    dataset.FrameOfReferenceUID, dataset.SeriesNumber = f"{ROOT}.7", int(series)
    for name, value in PATIENT.items():
        setattr(dataset, name, value)
    return dataset


def put_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Set the pixels, (y, x) or (frames, y, x), and what describes them."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes()


def decimal(values: Sequence[float]) -> list[str]:
    """As many digits as a DICOM decimal string of 16 letters has room for."""
    return [next(t for p in range(15, 0, -1) if len(t := f"{value:.{p}g}") <= 16) for value in values]


def cosines(grid: Grid) -> list[str]:
    return decimal([*grid.direction[:, 2], *grid.direction[:, 1]])


def write_series(
    folder: Path,
    pixels: np.ndarray,
    grid: Grid,
    *,
    change: Callable[[Dataset, int], Any] | None = None,
    series: str = "1",
    modality: str = "CT",
    start: int = 0,
) -> Path:
    """Write (z, y, x) as one file per slice, in an order that has no meaning; `change` edits each.

    Returns the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = CTImageStorage if modality == "CT" else MRImageStorage
    for z, plane in enumerate(pixels):
        number = (z * 7 + 3) % 1009 + start  # neither the file's name nor its number follows the position
        dataset = base(f"{ROOT}.2.{series}.{number}", kind, modality, series)
        dataset.InstanceNumber = number
        dataset.ImagePositionPatient = decimal(grid.to_world((z, 0, 0)))
        dataset.ImageOrientationPatient = cosines(grid)
        dataset.PixelSpacing = decimal(grid.spacing[1:])
        dataset.SliceThickness = "99"  # wrong on purpose: positions count
        put_pixels(dataset, plane)
        if change is None or change(dataset, z) is not False:
            dataset.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
    return folder


def write_enhanced(file: Path, pixels: np.ndarray, grid: Grid, *, times: int = 1) -> Path:
    """Write (z, y, x), or (t * z, y, x), as one multi-frame file, frames in no order of position."""
    dataset = base(f"{ROOT}.3.1", EnhancedMRImageStorage, "MR")
    slices = len(pixels) // times
    order = (
        [(i * 3 + 1) % len(pixels) for i in range(len(pixels))]
        if len(pixels) % 3
        else range(len(pixels))[::-1]
    )
    put_pixels(dataset, pixels[list(order)])
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = decimal(grid.spacing[1:]), "99"
    orientation.ImageOrientationPatient = cosines(grid)
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number in order:
        t, z = divmod(number, slices)
        group, position, content, values = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = decimal(grid.to_world((z, 0, 0)))
        content.TemporalPositionIndex = t + 1
        values.RescaleSlope, values.RescaleIntercept = str(z + 1), "-5"
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.PixelValueTransformationSequence = [values]
        if times > 1:
            heart = Dataset()
            heart.NominalCardiacTriggerDelayTime = 40.0 * t
            group.CardiacSynchronizationSequence = [heart]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.save_as(file, enforce_file_format=True)
    return file
