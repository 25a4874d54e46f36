"""Cases of classification: an image, and which class it belongs to."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from deepbio import io
from deepbio.cases.table import columns_of, first_of, image_files, name_of, read_rows
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import RGB, Grid, Image

__all__ = [
    "ClassCase",
    "class_names",
    "is_class_data",
    "load_image",
    "load_pixels",
    "load_placed",
    "read_class_cases",
]

_IMAGE_COLUMNS = ("image", "images", "img", "file", "path")
_CLASS_COLUMNS = ("class", "category", "diagnosis")
_LABEL_FILES = ("label", "labels", "mask", "masks", "truth")  # a data set of segmentation
_PATIENT_COLUMNS = ("patient", "subject")
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class ClassCase:
    """One image and the name of its class.

    Attributes
    ----------
    image : Path
        The file; for arrays the ``.npz``.
    class_name : str
        Its class.
    split : str
        ``"train"``, ``"val"``, ``"test"`` or empty where the data set does not say.
    patient : str
        Whose image it is; the cases of one patient are never in two parts.
    index : int
        For an array of images, which of them, from 0; else -1.
    """

    image: Path
    class_name: str
    split: str = ""
    patient: str = ""
    index: int = -1

    @property
    def name(self) -> str:
        """What the case is called: its file without suffix, or its part and number in an array."""
        if self.index >= 0:
            return f"{self.split}_{self.index}"
        return name_of(self.image)

    @property
    def key(self) -> str:
        """What cases are sorted by."""
        return f"{self.image}:{self.split}:{self.index:09d}" if self.index >= 0 else str(self.image)


def read_class_cases(source: Path | str) -> list[ClassCase]:
    """List the cases of a data set.

    Parameters
    ----------
    source : path
        A CSV file with the columns ``image`` (or ``file``; paths relative to the CSV) and ``class``, and
        optionally ``split`` and ``patient``; a folder with such an ``index.csv``; a folder with one
        folder of images for each class, optionally inside ``train/`` and ``val/``; or an ``.npz`` file
        with ``train_images``, ``train_labels``, ``val_images`` and ``val_labels``, as in MedMNIST, whose
        classes are called by their numbers.

    Returns
    -------
    list of ClassCase
        Sorted.

    Raises
    ------
    ImageError
        If there is no such source, it cannot be read, or nothing is found.
    """
    source = Path(source)
    if not source.exists():
        raise ImageError(
            f"The data set {str(source)!r} does not exist.", "Give a folder, a CSV or an .npz file."
        )
    if source.is_dir():
        index = source / "index.csv"
        cases = _from_csv(index) if index.is_file() else _from_folders(source)
    elif source.suffix.lower() == ".npz":
        cases = _from_arrays(source)
    else:
        cases = _from_csv(source)
    if not cases:
        raise ImageError(
            f"The data set {str(source)!r} holds no image with a class.",
            "Expected a folder of images for each class, or a CSV with the columns image,class.",
        )
    return sorted(cases, key=lambda case: case.key)


def is_class_data(source: Path) -> bool:
    """Whether a data set looks like one of classification; looks at names and columns only."""
    if source.suffix.lower() == ".npz":
        return source.is_file() and zipfile.is_zipfile(source) and _has_labels(source)
    if source.is_dir() and not (source / "index.csv").is_file():
        return bool(_class_folders(source))
    columns = columns_of(source)
    folder = source if source.is_dir() else source.parent
    with_masks = set(columns) & set(_LABEL_FILES) or (folder / "labels").is_dir()
    return bool(first_of(columns, _IMAGE_COLUMNS) and first_of(columns, _CLASS_COLUMNS) and not with_masks)


def _has_labels(path: Path) -> bool:
    with zipfile.ZipFile(path) as file:
        return "train_labels.npy" in file.namelist()


def class_names(cases: Sequence[ClassCase]) -> tuple[str, ...]:
    """The classes that occur: numbers in order, else names in order.

    Examples
    --------
    >>> class_names([ClassCase(Path("a.png"), "10"), ClassCase(Path("b.png"), "9")])
    ('9', '10')
    """
    found = {case.class_name for case in cases}
    if all(name.isdigit() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


# --- where cases come from ----------------------------------------------------------------------


def _from_csv(path: Path) -> list[ClassCase]:
    rows = read_rows(path)
    image, kind = first_of(rows[0], _IMAGE_COLUMNS), first_of(rows[0], _CLASS_COLUMNS)
    if image is None or kind is None:
        raise ImageError(
            f"The data set {str(path)!r} has the columns {sorted(rows[0])}; expected 'image' and 'class'."
        )
    patient = first_of(rows[0], _PATIENT_COLUMNS)
    cases = []
    for number, row in enumerate(rows, start=2):
        if not row.get(image) or not row.get(kind):
            raise ImageError(f"Line {number} of {str(path)!r} lacks an image or a class.")
        file_path = path.parent / row[image]
        if not file_path.exists():
            raise ImageError(f"{str(path)!r} names the file {str(file_path)!r}, which does not exist.")
        split = _part(row.get("split", ""))
        cases.append(ClassCase(file_path, row[kind], split, row.get(patient, "") if patient else ""))
    return cases


def _part(text: str) -> str:
    lowered = text.lower()
    return "val" if lowered in ("valid", "validation") else lowered


def _from_folders(folder: Path) -> list[ClassCase]:
    found = _class_folders(folder)
    if not found:
        raise ImageError(
            f"The folder {str(folder)!r} has no folders of images, one for each class.",
            "Put the images of each class into a folder of its name, or give a CSV with columns image,class.",
        )
    return [ClassCase(path, one.name, split) for split, one in found for path in image_files(one)]


def _class_folders(folder: Path) -> list[tuple[str, Path]]:
    """The folders that hold images, with the part that they are in."""
    parts = [(part, folder / part) for part in _PARTS if (folder / part).is_dir()]
    found = [
        (split, one)
        for split, part in parts or [("", folder)]
        for one in sorted(part.iterdir())
        if one.is_dir() and not one.name.startswith(".") and any(image_files(one))
    ]
    # images/ beside labels/ is a data set of segmentation
    if {one.name for _, one in found} & {"images"} and {one.name for _, one in found} & set(_LABEL_FILES):
        return []
    return found


def _from_arrays(path: Path) -> list[ClassCase]:
    arrays = _arrays(path)
    cases = []
    for part in _PARTS:
        if f"{part}_images" not in arrays and f"{part}_labels" not in arrays:
            continue
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is None or labels is None or len(images) != len(labels):
            sizes = [None if one is None else len(one) for one in (images, labels)]
            raise ImageError(
                f"{str(path)!r} has {sizes[0]} images and {sizes[1]} labels for {part}; expected as many."
            )
        numbers = np.asarray(labels).reshape(len(labels), -1)
        if numbers.shape[1] != 1 or numbers.dtype.kind not in "iu":
            raise ImageError(
                f"{part}_labels of {str(path)!r} has shape {labels.shape} and type {labels.dtype}; expected one "
                "whole number for each image.",
            )
        cases += [ClassCase(path, str(int(k)), part, index=i) for i, k in enumerate(numbers[:, 0])]
    if not cases:
        raise ImageError(
            f"{str(path)!r} has the arrays {sorted(arrays)}; expected train_images, train_labels, val_images "
            "and val_labels."
        )
    return cases


@lru_cache(maxsize=2)
def _read_arrays(path: Path, stamp: tuple[int, int]) -> Mapping[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name.partition("_")[0] in _PARTS}
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"{str(path)!r} cannot be read as arrays of numbers: {error}") from error


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    facts = path.stat()
    return _read_arrays(path, (facts.st_mtime_ns, facts.st_size))


# --- pixels -------------------------------------------------------------------------------------


def load_image(case: ClassCase) -> Image:
    """Read the image of a case."""
    if case.index < 0:
        return io.read(case.image)
    array = _arrays(case.image)[f"{case.split}_images"][case.index]
    if array.ndim > 2 and array.shape[-1] == 3:
        return Image(np.moveaxis(array, -1, 0), "CYX" if array.ndim == 3 else "CZYX", channels=RGB)
    return Image(array, "YX" if array.ndim == 2 else "ZYX")


def load_pixels(case: ClassCase) -> np.ndarray:
    """Read the pixels of a case, channels first.

    Returns
    -------
    ndarray, shape (C, [z,] y, x)
        As they are in the file; a stack of one slice is a 2D image.

    Raises
    ------
    InputMismatch
        If the image has a time axis.
    """
    return load_placed(case)[0]


def load_placed(case: ClassCase) -> tuple[np.ndarray, Grid]:
    """As :func:`load_pixels`, with the grid that they are on."""
    image = load_image(case)
    if image.size("T") > 1:
        raise InputMismatch(
            f"{str(case.image)!r} has a time axis; training takes single frames.", "Save the frames as files."
        )
    pixels = image.numpy()
    axes = image.axes
    if "T" in axes:
        pixels, axes = pixels[axes.index("T")], axes.replace("T", "")
    if "C" not in axes:
        pixels = pixels[None]
    if "Z" in axes and image.size("Z") == 1:
        return pixels[:, 0], image.plane(0).grid
    return pixels, image.grid
