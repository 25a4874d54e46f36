"""Tables as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import OutputError
from deepbio.image import Image, Table
from deepbio.io import write


def test_numbers_come_back_exactly(tmp_path: Path, rng: np.random.Generator) -> None:
    areas = rng.normal(size=7) * 10.0 ** rng.integers(-9, 9, 7)
    table = Table(
        {
            "label": np.arange(7),
            "area": areas,
            "mean": areas.astype(np.float32),
            "name": ['a "b", c'] * 7,
            "edge": areas > 0,
        },
        {"area": "um^2"},
    )
    write(tmp_path / "a.csv", table)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["label", "area [um^2]", "mean", "name", "edge"]
    assert [int(row[0]) for row in rows] == list(range(7))
    assert [float(row[1]) for row in rows] == areas.tolist()
    np.testing.assert_array_equal(np.float32([row[2] for row in rows]), table["mean"])
    assert rows[0][3] == 'a "b", c'
    assert {row[4] for row in rows} <= {"true", "false"}


def test_no_rows_is_a_header(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", Table({"label": []}))
    assert (tmp_path / "a.csv").read_bytes() == b"label\n"


def test_nan_and_units_are_visible(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", Table({"d": [float("nan"), float("inf")]}, {"d": "µm"}))
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "d [µm]\nnan\ninf\n"


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot hold a Image"):
        write(tmp_path / "a.csv", Image(np.zeros((7, 11))))
    with pytest.raises(OutputError, match="cannot hold a Table"):
        write(tmp_path / "a.tif", Table({"a": [1]}))
    with pytest.raises(OutputError, match="with columns"):
        write(tmp_path / "a.csv", Table({}))
    assert list(tmp_path.iterdir()) == []
