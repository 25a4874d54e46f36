"""Cases for training and evaluation: an image, its labels, and which part it belongs to."""

from __future__ import annotations

import csv
import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepbio import io
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import RGB, Grid, Image

__all__ = ["Case", "Sample", "load_sample", "read_cases", "split_cases"]

_IMAGE_COLUMNS = ("image", "images", "img")
_LABEL_COLUMNS = ("label", "labels", "mask", "masks", "truth")
_GROUP_COLUMNS = ("group", "kind", "modality", "class")
_VAL_FRACTION = 0.15


@dataclass(frozen=True)
class Case:
    """One image file and its label file.

    Attributes
    ----------
    image, labels : Path
        The files.
    group : str
        What kind of image it is (stain, scanner); scores are told per group and training
        draws the groups evenly.
    split : str
        ``"train"``, ``"val"``, ``"test"`` or empty where the data set does not say.
    """

    image: Path
    labels: Path
    group: str = ""
    split: str = ""

    @property
    def name(self) -> str:
        """File name of the image without its suffix."""
        return self.image.name.split(".")[0]


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
    """

    image: np.ndarray
    labels: np.ndarray
    case: Case
    grid: Grid


def read_cases(source: Path | str) -> list[Case]:
    """List the cases of a data set.

    Parameters
    ----------
    source : path
        Either a CSV file with columns ``image`` and ``label`` (paths relative to the CSV) and
        optionally ``split`` and ``group`` (or ``kind``); or a folder with ``images/`` and
        ``labels/`` (or ``masks/``) that hold files of the same stem, optionally inside
        ``train/`` and ``val/``; or a folder whose ``index.csv`` has the columns of the CSV, or
        a column ``id`` that names the files in ``images/`` and ``labels/``.

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
        cases = _from_csv(index) if index.is_file() else _from_folder(source)
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
        labels = {path.name.split(".")[0]: path for path in _image_files(labels_dir)}
        for path in _image_files(part / "images"):
            stem = path.name.split(".")[0]
            if stem not in labels:
                raise ImageError(
                    f"The image {str(path)!r} has no label file of the same name in {str(labels_dir)!r}."
                )
            cases.append(Case(path, labels[stem], split=split))
    return cases


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_image(path))


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith(tuple(io.image_suffixes()))


def _from_csv(path: Path) -> list[Case]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [{(k or "").strip().lower(): v or "" for k, v in row.items()} for row in csv.DictReader(file)]
    if not rows:
        raise ImageError(f"The data set {str(path)!r} has no rows.")
    image, labels = _first(rows[0], _IMAGE_COLUMNS), _first(rows[0], _LABEL_COLUMNS)
    if image and labels:
        pairs = [(path.parent / row[image], path.parent / row[labels]) for row in rows]
    elif "id" in rows[0]:
        pairs = [_by_id(path, row["id"]) for row in rows]
    else:
        raise ImageError(
            f"The data set {str(path)!r} has the columns {sorted(rows[0])}; "
            "expected 'image' and 'label', or 'id'."
        )
    for missing in (file for pair in pairs for file in pair if not file.is_file()):
        raise ImageError(f"{str(path)!r} names the file {str(missing)!r}, which does not exist.")
    group = _first(rows[0], _GROUP_COLUMNS)
    return [
        Case(one, other, row.get(group, "") if group else "", row.get("split", "").strip().lower())
        for (one, other), row in zip(pairs, rows, strict=True)
    ]


def _by_id(index: Path, name: str) -> tuple[Path, Path]:
    """Image and label file of this name beside an index."""
    found = []
    for folder in ("images", "labels"):
        files = [f for f in (index.parent / folder).glob(f"{glob.escape(name)}.*") if _is_image(f)]
        if len(files) != 1:
            raise ImageError(
                f"The row 'id={name}' of {str(index)!r} has {len(files)} image files of this name in "
                f"{folder!r}; expected one."
            )
        found.append(files[0])
    return found[0], found[1]


def _first(columns: dict[str, str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def split_cases(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Divide cases into train and val; a test part is left out.

    Where the data set does not say, 15 % go to val, chosen by a hash of the file name, so the
    split stays the same when cases are added.

    Raises
    ------
    ImageError
        If either part is empty.
    """
    told = any(case.split for case in cases)
    if told:
        train = [case for case in cases if case.split == "train"]
        val = [case for case in cases if case.split in ("val", "valid", "validation")]
    else:
        ranked = sorted(cases, key=lambda case: hashlib.sha256(case.name.encode()).hexdigest())
        held = max(1, round(_VAL_FRACTION * len(ranked)))
        train, val = ranked[held:], ranked[:held]
    if not train or not val:
        raise ImageError(
            f"Training needs cases in both parts; found {len(train)} for train and {len(val)} for val.",
            "Add cases, or a column 'split' with train and val.",
        )
    return sorted(train, key=lambda c: str(c.image)), sorted(val, key=lambda c: str(c.image))


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
        If image and labels differ in size, or the channels cannot be had.
    """
    image = io.read(case.image)
    labels = io.read_labels(case.labels)
    if "T" in image.axes or "T" in labels.axes:
        raise InputMismatch(
            f"{str(case.image)!r} has a time axis; training takes single frames.", "Save the frames as files."
        )
    if image.grid.shape != labels.grid.shape:
        raise InputMismatch(
            f"{str(case.image)!r} has size {image.grid.shape}, its labels have {labels.grid.shape}; they must be equal."
        )
    return Sample(with_channels(image, channels), labels.numpy().astype(np.int32), case, image.grid)


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
