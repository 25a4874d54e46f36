"""Cases of restoration: an image and what it should become, or one of the two alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepbio import io
from deepbio.cases.table import columns_of, first_of, image_files, name_of, read_rows, same_names
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import Grid, Image

__all__ = [
    "RestoreCase",
    "RestoreSample",
    "coarser",
    "load_restore_sample",
    "looks_like_pairs",
    "read_restore_cases",
]

_INPUT_COLUMNS = ("image", "input", "low", "noisy", "raw")
_TARGET_COLUMNS = ("target", "high", "truth", "clean", "gt")
_PATIENT_COLUMNS = ("patient", "subject")
_GROUP_COLUMNS = ("group", "kind", "modality")
_FOLDERS = (("input", "target"), ("low", "high"), ("noisy", "clean"))
_EXPECTED = (
    "Expected folders input/ and target/ (or low/ and high/) with files of the same name, a folder of images, "
    "or a CSV with columns image,target[,split,patient]."
)


@dataclass(frozen=True)
class RestoreCase:
    """A file to be restored and the file that it should become.

    Attributes
    ----------
    image : Path or None
        The input; None where there is a clean image alone, whose input is made from it.
    target : Path or None
        What the input should become; None where nobody knows.
    split : str
        ``"train"``, ``"val"``, ``"test"`` or empty where the data set does not say.
    patient : str
        Whose image it is; the cases of one patient are never in two parts.
    group : str
        What kind of image it is; scores are told per group.
    """

    image: Path | None
    target: Path | None = None
    split: str = ""
    patient: str = ""
    group: str = ""

    @property
    def path(self) -> Path:
        """The file that the case is named after: the input, or else the target."""
        path = self.image or self.target
        assert path is not None, "a case has at least one file"  # noqa: S101
        return path

    @property
    def name(self) -> str:
        """File name without its suffix."""
        return name_of(self.path)

    @property
    def key(self) -> str:
        """What cases are sorted by."""
        return str(self.path)


@dataclass(frozen=True)
class RestoreSample:
    """A case in memory, its frames and channels first.

    Attributes
    ----------
    image, target : ndarray of float32 or None, shape (T, C, [z,] y, x)
        Pixels as they are in the files.
    case : RestoreCase
        Where they came from.
    grid : Grid
        Where the pixels of the image, or else the target, are.
    channels : tuple of str
        Names of the channels, where the file says.
    """

    image: np.ndarray | None
    target: np.ndarray | None
    case: RestoreCase
    grid: Grid
    channels: tuple[str, ...] = ()

    @property
    def given(self) -> np.ndarray:
        """The image, or where there is none, the target."""
        given = self.target if self.image is None else self.image
        assert given is not None, "a case has at least one file"  # noqa: S101
        return given


def looks_like_pairs(source: Path) -> bool:
    """Whether a data set is one of pairs, by its folders or the columns of its CSV alone."""
    if source.is_dir():
        for part in (source, source / "train"):
            if any((part / low).is_dir() and (part / high).is_dir() for low, high in _FOLDERS):
                return True
    columns = columns_of(source)
    return any(name in columns for name in ("target", "high", "clean")) and "class" not in columns


def read_restore_cases(source: Path | str) -> list[RestoreCase]:
    """List the cases of a data set for restoration.

    Parameters
    ----------
    source : path
        A CSV file with columns ``image`` and ``target`` (paths relative to the CSV; either may be
        left empty in a row) and optionally ``split``, ``patient`` and ``group``; or a folder with
        ``input/`` and ``target/`` (or ``low/`` and ``high/``, ``noisy/`` and ``clean/``) that hold
        files of the same name, optionally inside ``train/`` and ``val/``, or beside an ``index.csv``
        with a column ``file`` and the split; or a folder of images, or of ``images/``, without targets.

    Returns
    -------
    list of RestoreCase
        Sorted by file name.

    Raises
    ------
    ImageError
        If there is no such source, a file is missing, or nothing is found.
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
        raise ImageError(f"The data set {str(source)!r} holds no images.", _EXPECTED)
    return sorted(cases, key=lambda case: case.key)


def _from_folder(folder: Path) -> list[RestoreCase]:
    parts = [(part, folder / part) for part in ("train", "val", "test") if (folder / part).is_dir()]
    return [case for split, part in parts or [("", folder)] for case in _from_part(part, split)]


def _from_part(part: Path, split: str) -> list[RestoreCase]:
    pair = _pair_folders(part)
    if pair is None:
        only = part / "images" if (part / "images").is_dir() else part
        return [RestoreCase(path, split=split) for path in _image_files(only)]
    images = _image_files(pair[0])
    targets = same_names(images, _image_files(pair[1]))
    cases = []
    for path in images:
        if path not in targets:
            raise ImageError(f"The image {str(path)!r} has no file of the same name in {str(pair[1])!r}.")
        cases.append(RestoreCase(path, targets[path], split=split))
    return cases


def _pair_folders(part: Path) -> tuple[Path, Path] | None:
    for low, high in _FOLDERS:
        if (part / low).is_dir() and (part / high).is_dir():
            return part / low, part / high
    return None


def _image_files(folder: Path) -> list[Path]:
    return [path for path in image_files(folder) if path.is_file()]


def _from_csv(path: Path) -> list[RestoreCase]:
    rows = read_rows(path)
    pairs = _files(path, rows)
    patient, group = first_of(rows[0], _PATIENT_COLUMNS), first_of(rows[0], _GROUP_COLUMNS)
    cases = []
    for (image, target), row in zip(pairs, rows, strict=True):
        for missing in (file for file in (image, target) if file is not None and not file.exists()):
            raise ImageError(f"{str(path)!r} names the file {str(missing)!r}, which does not exist.")
        if image is None and target is None:
            raise ImageError(f"A row of {str(path)!r} names neither an image nor a target: {row}.")
        told = {name: row.get(column or "", "") for name, column in (("p", patient), ("g", group))}
        cases.append(RestoreCase(image, target, row.get("split", "").lower(), told["p"], told["g"]))
    return cases


def _files(path: Path, rows: Sequence[dict[str, str]]) -> list[tuple[Path | None, Path | None]]:
    """Input and target of each row."""
    image, target = first_of(rows[0], _INPUT_COLUMNS), first_of(rows[0], _TARGET_COLUMNS)

    def named(row: dict[str, str], column: str | None) -> Path | None:
        text = row.get(column or "", "")
        return path.parent / text if text else None

    if image or target:
        return [(named(row, image), named(row, target)) for row in rows]
    pair = _pair_folders(path.parent)
    if "file" in rows[0]:
        if pair is not None:
            return [(pair[0] / row["file"], pair[1] / row["file"]) for row in rows]
        return [(path.parent / "images" / row["file"], None) for row in rows]
    raise ImageError(
        f"The data set {str(path)!r} has the columns {sorted(rows[0])}; expected 'image' and 'target', or 'file'.",
        _EXPECTED,
    )


def load_restore_sample(case: RestoreCase, factor: int = 1) -> RestoreSample:
    """Read a case into memory.

    Parameters
    ----------
    case : RestoreCase
        Which.
    factor : int
        Pixels of the target for each of the image, along every spatial axis (for super-resolution).

    Returns
    -------
    RestoreSample

    Raises
    ------
    ImageError
        If a file cannot be read, or has a pixel that is not a number.
    InputMismatch
        If image and target have other sizes, channels or frames than each other.
    """
    image = io.read(case.image) if case.image is not None else None
    target = io.read(case.target) if case.target is not None else None
    if image is not None and target is not None:
        _check_pair(case, image, target, factor)
    given = image or target
    assert given is not None, "a case has at least one file"  # noqa: S101
    return RestoreSample(
        None if image is None else _frames(image, case.image),
        None if target is None else _frames(target, case.target),
        case,
        given.grid,
        given.channels,
    )


def _check_pair(case: RestoreCase, image: Image, target: Image, factor: int) -> None:
    for axis, word in (("T", "frames"), ("C", "channels")):
        if image.size(axis) != target.size(axis):
            raise InputMismatch(
                f"{str(case.image)!r} has {image.size(axis)} {word}, its target {str(case.target)!r} has "
                f"{target.size(axis)}; they must be equal."
            )
    wanted = tuple(n * factor for n in image.grid.shape)
    if target.grid.shape == wanted:
        return
    if factor == 1:
        raise InputMismatch(
            f"{str(case.image)!r} has size {image.grid.shape}, its target {str(case.target)!r} has "
            f"{target.grid.shape}; they must be equal.",
            "Register the two images, or cut them to the same field. For super-resolution choose the method "
            "'superresolution' and its factor.",
        )
    raise InputMismatch(
        f"{str(case.image)!r} has size {image.grid.shape}, its target {str(case.target)!r} has "
        f"{target.grid.shape}; with the factor {factor} it must have {wanted}.",
        "Choose the factor that the sizes have, or give the target alone: its input is then made from it.",
    )


def _frames(image: Image, path: Path | None) -> np.ndarray:
    """Pixels as float32 with leading axes for frames and channels."""
    array = np.asarray(image.numpy(), np.float32)
    if not np.isfinite(array).all():
        raise ImageError(f"{str(path)!r} has pixels that are NaN or infinite.")
    if "C" not in image.axes:
        array = np.expand_dims(array, 1 if "T" in image.axes else 0)
    return array if "T" in image.axes else array[None]


def coarser(array: np.ndarray, factor: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Means of blocks of pixels, and the image that they cover: incomplete blocks are cut off.

    Parameters
    ----------
    array : ndarray, shape (..., [z,] y, x)
    factor : sequence of int
        Pixels of a block along each of the last axes.

    Returns
    -------
    coarse, covered : ndarray
        Both float32.

    Raises
    ------
    InputMismatch
        If the image is smaller than a block.

    Examples
    --------
    >>> coarse, covered = coarser(np.arange(10.0).reshape(2, 5), (2, 2))
    >>> coarse.tolist(), covered.shape
    ([[3.0, 5.0]], (2, 4))
    """
    lead, size = array.shape[: -len(factor)], array.shape[-len(factor) :]
    if any(n < f for n, f in zip(size, factor, strict=True)):
        raise InputMismatch(f"An image of {size} pixels cannot be made coarser by {tuple(factor)}.")
    whole = tuple(slice(0, n // f * f) for n, f in zip(size, factor, strict=True))
    key: tuple[Any, ...] = (..., *whole)
    covered = np.ascontiguousarray(array[key], np.float32)
    split = [part for n, f in zip(size, factor, strict=True) for part in (n // f, f)]
    blocks = covered.reshape(*lead, *split)
    return blocks.mean(tuple(range(len(lead) + 1, blocks.ndim, 2)), dtype=np.float32), covered
