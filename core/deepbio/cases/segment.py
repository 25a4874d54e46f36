"""Cases of segmentation: an image, its labels, and which part it belongs to."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepbio import io
from deepbio.cases.decathlon import files_of, is_decathlon
from deepbio.cases.table import first_of, image_files, is_image, name_of, read_rows, same_names
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import RGB, Grid, Image, LabelMap

__all__ = ["Case", "Sample", "check_grids", "check_highest", "load_sample", "read_cases"]

_IMAGE_COLUMNS = ("image", "images", "img")
_LABEL_COLUMNS = ("label", "labels", "mask", "masks", "truth")
_GROUP_COLUMNS = ("group", "kind", "modality", "class")
_PATIENT_COLUMNS = ("patient", "subject")
_ROUNDING = 1e-3  # of a voxel: grids that differ by less differ by how files round
_HIGHEST = (1 << 24) - 1  # label: tables of a case have a row for each number up to its highest
_IN_MILLIMETERS = {"millimeter": 1.0, "micrometer": 1e-3}


@dataclass(frozen=True)
class Case:
    """One image file and its label file.

    Attributes
    ----------
    image, labels : Path
        The files.
    others : tuple of Path
        Files of the second and further channels, where each channel has its own.
    group : str
        What kind of image it is (stain, scanner); scores are told per group and training
        draws the groups evenly.
    split : str
        ``"train"``, ``"val"``, ``"test"`` or empty where the data set does not say.
    patient : str
        Whose image it is; the cases of one patient are never in two parts or folds.
    """

    image: Path
    labels: Path
    group: str = ""
    split: str = ""
    patient: str = ""
    others: tuple[Path, ...] = ()

    @property
    def source(self) -> Path | tuple[Path, ...]:
        """What :func:`deepbio.read` takes."""
        return (self.image, *self.others) if self.others else self.image

    @property
    def name(self) -> str:
        """File name of the image without its suffix."""
        return name_of(self.image)

    @property
    def key(self) -> str:
        """What cases are sorted by."""
        return str(self.image)


@dataclass(frozen=True)
class Sample:
    """A case in memory, channels first.

    Attributes
    ----------
    image : ndarray, shape (C, [z,] y, x)
        Pixels as they are in the file.
    labels : ndarray of int32, shape ([z,] y, x)
        Labels, 0 = background.
    case : Case
        Where it came from.
    grid : Grid
        Where the pixels are.
    meta : mapping
        What else the image file said, such as its ``"modality"``.
    """

    image: np.ndarray
    labels: np.ndarray
    case: Case
    grid: Grid
    meta: Mapping[str, Any] = field(default_factory=dict)


def read_cases(source: Path | str) -> list[Case]:
    """List the cases of a data set.

    Parameters
    ----------
    source : path
        Either a CSV file with columns ``image`` and ``label`` (paths relative to the CSV) and
        optionally ``split``, ``group`` (or ``kind``) and ``patient``; or a folder with ``images/``
        and ``labels/`` (or ``masks/``) that hold files of the same stem, optionally inside
        ``train/`` and ``val/``; or a folder with ``imagesTr`` and ``labelsTr`` as nnU-Net and the Decathlon have
        them; or a folder whose ``index.csv`` has the columns of the CSV, or
        a column ``file`` (with suffix) or ``id`` (without) that names the files in ``images/``
        and ``labels/``.

    Returns
    -------
    list of Case
        Sorted by file name.

    Raises
    ------
    ImageError
        If there is no such source, an image has no labels, or nothing is found.
    """
    source = Path(source)
    if source.is_dir():
        index = source / "index.csv"
        if index.is_file():
            cases = _from_csv(index)
        elif is_decathlon(source):
            cases = [Case(files[0], labels, others=files[1:]) for files, labels in files_of(source)]
        else:
            cases = _from_folder(source)
    elif source.is_file():
        cases = _from_csv(source)
    else:
        raise ImageError(f"The data set {str(source)!r} does not exist.", "Give a folder or a CSV file.")
    if not cases:
        raise ImageError(
            f"The data set {str(source)!r} holds no image with labels.",
            "Expected images/ and labels/ with files of the same name, or a CSV with columns image,label.",
        )
    return sorted(cases, key=lambda case: str(case.image))


def _from_folder(folder: Path) -> list[Case]:
    parts = [(part, folder / part) for part in ("train", "val", "test") if (folder / part).is_dir()]
    cases: list[Case] = []
    for split, part in parts or [("", folder)]:
        labels_dir = next((part / name for name in ("labels", "masks") if (part / name).is_dir()), None)
        if labels_dir is None or not (part / "images").is_dir():
            raise ImageError(
                f"The folder {str(part)!r} has no images/ and labels/ beside each other.",
                "Put images into images/ and label images of the same name into labels/.",
            )
        images = image_files(part / "images")
        labels = same_names(images, image_files(labels_dir))
        for path in images:
            if path not in labels:
                raise ImageError(
                    f"The image {str(path)!r} has no label file of the same name in {str(labels_dir)!r}."
                )
            cases.append(Case(path, labels[path], split=split))
    return cases


def _from_csv(path: Path) -> list[Case]:
    rows = read_rows(path)
    pairs = _pairs(path, rows)
    for missing in (file for pair in pairs for file in pair if not file.exists()):
        raise ImageError(f"{str(path)!r} names the file {str(missing)!r}, which does not exist.")
    group, patient = first_of(rows[0], _GROUP_COLUMNS), first_of(rows[0], _PATIENT_COLUMNS)
    return [
        Case(
            one,
            other,
            row.get(group, "") if group else "",
            row.get("split", "").lower(),
            row.get(patient, "") if patient else "",
        )
        for (one, other), row in zip(pairs, rows, strict=True)
    ]


def _pairs(path: Path, rows: Sequence[dict[str, str]]) -> list[tuple[Path, Path]]:
    """Image and label file of each row."""
    image, labels = first_of(rows[0], _IMAGE_COLUMNS), first_of(rows[0], _LABEL_COLUMNS)
    if image and labels:
        return [(path.parent / row[image], path.parent / row[labels]) for row in rows]
    if "file" in rows[0]:
        names = [row["file"] for row in rows]
        return [(path.parent / "images" / name, path.parent / "labels" / name) for name in names]
    if "id" in rows[0]:
        return [_by_id(path, row["id"]) for row in rows]
    raise ImageError(
        f"The data set {str(path)!r} has the columns {sorted(rows[0])}; "
        "expected 'image' and 'label', 'file', or 'id'."
    )


def _by_id(index: Path, name: str) -> tuple[Path, Path]:
    """Image and label file of this name beside an index."""
    found = []
    for folder in ("images", "labels"):
        files = [f for f in (index.parent / folder).glob(f"{glob.escape(name)}.*") if is_image(f)]
        if len(files) != 1:
            raise ImageError(
                f"The row 'id={name}' of {str(index)!r} has {len(files)} image files of this name in "
                f"{folder!r}; expected one."
            )
        found.append(files[0])
    return found[0], found[1]


def load_sample(case: Case, channels: int | None = None) -> Sample:
    """Read a case into memory.

    Parameters
    ----------
    case : Case
        Which.
    channels : int, optional
        Channels wanted; a grey image is repeated to fill them.

    Returns
    -------
    Sample

    Raises
    ------
    InputMismatch
        If image and labels do not lie on one grid, or the channels cannot be had.
    ImageError
        If a file cannot be read, or a label is above 16,777,215.
    """
    image = io.read(case.source)
    labels = io.read_labels(case.labels)
    if "T" in image.axes or "T" in labels.axes:
        raise InputMismatch(
            f"{str(case.image)!r} has a time axis; training takes single frames.", "Save the frames as files."
        )
    check_grids(case, image.grid, labels.grid)
    check_highest(case.labels, labels, _HIGHEST)
    marks = labels.numpy().astype(np.int32)
    return Sample(with_channels(image, channels), marks, case, image.grid, image.meta)


def check_highest(path: Path, labels: LabelMap, highest: int) -> None:
    """Refuse labels that training has no room for: they would become others, or fill the memory.

    Raises
    ------
    ImageError
        It names the file and the label.
    """
    found = int(labels.numpy().max(initial=0))
    if found > highest:
        raise ImageError(
            f"{str(path)!r} holds the label {found}; training takes labels up to {highest}.",
            "Number the objects anew from 1, for example with skimage.segmentation.relabel_sequential.",
        )


def check_grids(case: Case, image: Grid, labels: Grid) -> None:
    """See that the labels of a case lie where its image lies.

    Labels without a unit ("pixel") are taken to lie on their image. Differences below 1e-3 of a
    voxel are how files round, and accepted.

    Parameters
    ----------
    case : Case
        For the message.
    image, labels : Grid
        Of its two files.

    Raises
    ------
    InputMismatch
        If sizes differ, or a corner of the labels lies off; it says by how many voxels and mm.
    """
    if image.shape != labels.shape:
        raise InputMismatch(
            f"{str(case.image)!r} has size {image.shape}, its labels have {labels.shape}; they must be equal."
        )
    if "pixel" in (image.unit, labels.unit):
        return
    corners = np.array(list(itertools.product(*((0, n - 1) for n in image.shape))), float)
    into = _IN_MILLIMETERS[labels.unit] / _IN_MILLIMETERS[image.unit]
    there = labels.to_world(corners) * into
    voxels = float(np.abs(image.to_index(there) - corners).max())
    if voxels >= _ROUNDING:
        apart = float(np.linalg.norm(there - image.to_world(corners), axis=1).max())
        raise InputMismatch(
            f"{str(case.labels)!r} does not lie on its image: up to {voxels:.3g} voxels "
            f"({apart * _IN_MILLIMETERS[image.unit]:.3g} mm) apart.",
            "Spacing, origin or direction of one of the files is wrong; resample the labels onto the image.",
        )


def with_channels(image: Image, channels: int | None) -> np.ndarray:
    """Pixels with a leading channel axis; a grey image is repeated to fill `channels`.

    Returns
    -------
    ndarray, shape (C, [z,] y, x)
    """
    array = image.numpy()
    if "C" not in image.axes:
        array = array[None]
    if channels is None or array.shape[0] == channels:
        return array
    if array.shape[0] == 1:
        return np.repeat(array, channels, axis=0)
    names = "RGB" if image.channels == RGB else str(array.shape[0])
    raise InputMismatch(f"The image has {names} channels, the network takes {channels}.")
