"""Tables as CSV: units stand in the header, as ``area [um^2]``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from deepbio.errors import ImageError, OutputError
from deepbio.image import Image, LabelMap, Table

__all__ = ["read", "write"]


def read(path: Path, *, lazy: bool, labels: bool) -> Image:
    """Refuse: a table is no image."""
    raise ImageError(f"'{path}' is a table; expected an image.")


def write(path: Path, item: Image | LabelMap | Table) -> None:
    """Write a table as CSV in UTF-8: a header line, then one line a row, numbers in full precision.

    Raises
    ------
    OutputError
        If the table has no column.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "cells.csv")
    ...     write(file, Table({"label": [1, 2], "area": [3.5, 4.25]}, {"area": "um^2"}))
    ...     print(file.read_text(encoding="utf-8"))
    label,area [um^2]
    1,3.5
    2,4.25
    """
    if not isinstance(item, Table) or not item.columns:
        raise OutputError(f"'{path}': expected a table with columns.")
    header = [f"{name} [{item.units[name]}]" if item.units.get(name) else name for name in item.columns]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_text(value) for value in row] for row in item.rows())


def _text(value: Any) -> Any:
    """Numbers as Python writes them (the shortest text that gives the same float back); NaN stays visible."""
    return "true" if value is True else "false" if value is False else value
