"""What the readers of data sets share: tables as CSV, and the image files of a folder."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TextIO

from deepbio import io
from deepbio.errors import ImageError

__all__ = ["columns_of", "first_of", "image_files", "is_image", "name_of", "read_rows", "same_names"]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV by the names of its columns, without white space around names and values.

    Columns may be separated by semicolons or tabs, as some spreadsheets write them. Names are in lower
    case; what a row lacks is empty, what it has beyond the columns is left out.

    Raises
    ------
    ImageError
        If the file is no CSV or has no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {k.strip().lower(): (v or "").strip() for k, v in row.items() if k is not None}
                for row in csv.DictReader(file, delimiter=_separator(file))
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageError(
            f"The data set {str(path)!r} is not a table of text (CSV): {error}.",
            "Give a folder or a CSV file.",
        ) from error
    if not rows:
        raise ImageError(f"The data set {str(path)!r} has no rows.")
    return rows


def columns_of(source: Path) -> list[str]:
    """Names of the columns of a CSV, or of the ``index.csv`` of a folder; none where there is no such file."""
    path = source / "index.csv" if source.is_dir() else source
    if path.suffix.lower() != ".csv" or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        return [name.strip().lower() for name in next(csv.reader(file, delimiter=_separator(file)), [])]


def _separator(file: TextIO) -> str:
    """What separates the names of the columns: the first line is read, and the file is at its start again."""
    header = file.readline()
    file.seek(0)
    return max(",;\t", key=header.count)  # of none, a comma: one column


def first_of(columns: Container[str], names: Sequence[str]) -> str | None:
    """The first of the names that is a column.

    Examples
    --------
    >>> first_of(["split", "mask"], ("label", "mask"))
    'mask'
    """
    return next((name for name in names if name in columns), None)


def is_image(path: Path) -> bool:
    """Whether a file is one of the formats that are read, by its name."""
    return path.name.lower().endswith(tuple(io.image_suffixes()))


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, sorted; hidden files (macOS puts ``._a.nii.gz`` beside ``a.nii.gz``) are left out."""
    return sorted(path for path in folder.iterdir() if is_image(path) and not path.name.startswith("."))


def name_of(path: Path) -> str:
    """The name of an image file without the suffix of its format; other dots belong to the name.

    Examples
    --------
    >>> name_of(Path("scans/1.2.840.7.nii.gz")), name_of(Path("knee.ome.tif")), name_of(Path("series.3"))
    ('1.2.840.7', 'knee', 'series.3')
    """
    suffixes = (suffix for suffix in io.image_suffixes() if path.name.lower().endswith(suffix))
    return path.name[: len(path.name) - len(max(suffixes, key=len, default=""))] or path.name


def same_names(images: Sequence[Path], others: Sequence[Path]) -> dict[Path, Path]:
    """Which of the other files is of the same name as each image.

    Parameters
    ----------
    images, others : sequence of Path
        The files of two folders.

    Returns
    -------
    dict of Path to Path
        By the image; what has no partner is left out. Where no file is of the whole name, the name up to the
        first dot counts (``a.seg.nrrd`` belongs to ``a.nii.gz``) if no other file begins with it.
    """
    whole = {name_of(path): path for path in others}
    begun = {_beginning(path): path for path in others}
    alone = [Counter(_beginning(path) for path in files) for files in (images, others)]
    found = {}
    for image in images:
        start = _beginning(image)
        if name_of(image) in whole:
            found[image] = whole[name_of(image)]
        elif all(count[start] == 1 for count in alone):
            found[image] = begun[start]
    return found


def _beginning(path: Path) -> str:
    return path.name.split(".")[0]
