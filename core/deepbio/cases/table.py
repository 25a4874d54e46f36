"""What the readers of data sets share: tables as CSV, and the image files of a folder."""

from __future__ import annotations

import csv
from collections.abc import Container, Sequence
from pathlib import Path

from deepbio import io
from deepbio.errors import ImageError

__all__ = ["columns_of", "first_of", "image_files", "is_image", "read_rows"]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV by the names of its columns, without white space around names and values.

    Names are in lower case; what a row lacks is empty, what it has beyond the columns is left out.

    Raises
    ------
    ImageError
        If the file is no CSV or has no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {k.strip().lower(): (v or "").strip() for k, v in row.items() if k is not None}
                for row in csv.DictReader(file)
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
        return [name.strip().lower() for name in next(csv.reader(file), [])]


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
    """The images of a folder, sorted."""
    return sorted(path for path in folder.iterdir() if is_image(path))
