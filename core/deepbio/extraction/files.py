"""Tables of features as CSV, Parquet or npz: written whole or not at all, and read again."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError, MissingPackage, OptionError
from deepbio.extraction.extract import feature_names
from deepbio.image import Table
from deepbio.io import atomic, write

__all__ = ["SUFFIXES", "check_features_file", "read_features", "write_features"]

SUFFIXES = (".csv", ".parquet", ".npz")
_ORIGIN = ("model", "version", "weights", "layer")


def check_features_file(path: Path) -> None:
    """Refuse a file of features that could not be written or read, before the work.

    Raises
    ------
    OptionError
        If the suffix is not one of `SUFFIXES`.
    MissingPackage
        If it is Parquet and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OptionError(f"Features cannot be kept in '{path}'.", f"Use one of {', '.join(SUFFIXES)}.")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MissingPackage("pyarrow", "A Parquet file", extra="parquet")


def write_features(path: str | Path, table: Table) -> None:
    """Write a table of features.

    Parameters
    ----------
    path : str or Path
        ``.csv``; ``.parquet`` (with the extra ``parquet``): a column for each feature; ``.npz``: the
        array ``vectors`` (n, F) with ``names``, and an array ``row_...`` for each other column.
    table : Table
        Columns of :func:`deepbio.features`, and any of text or numbers before them.

    Examples
    --------
    >>> import tempfile
    >>> table = Table({"file": ["a.png"], "mean_0": np.float32([0.5]), "mean_1": np.float32([2])})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_features(Path(folder, "cells.npz"), table)
    ...     read_features(Path(folder, "cells.npz"))["mean_1"].tolist()
    [2.0]
    """
    path = Path(path)
    check_features_file(path)
    if path.suffix.lower() == ".csv":
        write(path, table)
        return
    with atomic(path) as temporary:
        if path.suffix.lower() == ".npz":
            names = feature_names(table)
            others = {f"row_{name}": values for name, values in table.columns.items() if name not in names}
            vectors = np.stack([table[name] for name in names], axis=1).astype(np.float32)
            with temporary.open("wb") as file:
                arrays: dict[str, Any] = {"names": np.array(names), "vectors": vectors, **others}
                np.savez_compressed(file, **arrays)
        else:
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.table(dict(table.columns)), temporary)


def read_features(path: str | Path) -> Table:
    """Read what :func:`write_features` wrote.

    Raises
    ------
    ImageError
        If the file is missing or has no features.
    OptionError
        If the suffix is not one of `SUFFIXES`.
    MissingPackage
        If it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    check_features_file(path)
    readers = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}
    try:
        columns = readers[path.suffix.lower()](path)
        table = Table(columns)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"'{path}' cannot be read as features: {reason}.") from error
    if not feature_names(table):
        raise ImageError(
            f"'{path}' has no features: its columns are {', '.join(list(table.columns)[:8])}.",
            "Make it with 'deepbio features'.",
        )
    return table


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        names, vectors = file["names"], file["vectors"]
        others = {name[4:]: file[name] for name in file.files if name.startswith("row_")}
    return {**others, **{str(name): vectors[:, k] for k, name in enumerate(names)}}


def _read_csv(path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    columns = {name: [row[k] for row in rows] for k, name in enumerate(header)}
    features = set(feature_names(Table({name: np.array(values) for name, values in columns.items()})))
    return {name: _typed(name, values, features) for name, values in columns.items()}


def _typed(name: str, values: list[str], features: set[str]) -> np.ndarray:
    if name in features:
        return np.array(values, np.float32)
    if name in ("file", *_ORIGIN):  # a hash of digits is no number
        return np.array(values, str)
    try:
        numbers = np.array(values, np.float64)
    except ValueError:
        return np.array(values, str)
    whole = numbers.size and bool((numbers == np.round(numbers)).all())
    return numbers.astype(np.int64) if whole else numbers


def _read_parquet(path: Path) -> dict[str, Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(str(error).splitlines()[0]) from error
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    return {name: v.astype(str) if v.dtype.kind == "O" else v for name, v in columns.items()}
