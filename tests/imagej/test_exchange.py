"""What commands and desks give each other."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.image import Grid, Image, Table
from imagej_bridge.exchange import Taken


def taken(axes: str, slices: int = 9, frames: int = 7) -> Taken:
    """A part of an image of 9 slices and 7 frames that begins at slice 4 and frame 3, counted from 1."""
    sizes = {"T": 2, "Z": 3, "Y": 5, "X": 6}
    shape = tuple(sizes[axis] for axis in axes)
    spatial = tuple(sizes[axis] for axis in axes if axis in "ZYX")
    grid = Grid(spatial, (2.0, 0.5, 0.5)[3 - len(spatial) :], unit="micrometer")
    image = Image(np.zeros(shape, np.uint8), axes, grid, frame_interval=5.0 if "T" in axes else None)
    return Taken(image, "a", None, 3, 2, slices, frames)


def test_rows_of_a_part_are_placed_in_the_whole() -> None:
    table = Table(
        {
            "track": [1, 1],
            "frame": [1, 2],
            "time": [0.0, 5.0],
            "start": [1, 1],
            "end": [2, 2],
            "length": [2, 2],
        },
        {"time": "s"},
    )
    rows = taken("TYX", slices=1).placed_rows(table)
    assert {name: values.tolist() for name, values in rows.columns.items()} == {
        "track": [1, 1],
        "frame": [3, 4],
        "time": [10.0, 15.0],
        "start": [3, 3],
        "end": [4, 4],
        "length": [2, 2],
    }
    assert rows.units == {"time": "s"}


def test_the_depth_of_part_of_a_volume_is_that_in_the_whole() -> None:
    rows = taken("ZYX").placed_rows(Table({"label": [1], "centroid_z": [1.5]}, {"centroid_z": "um"}))
    assert list(rows.columns) == ["frame", "label", "centroid_z"]
    assert (rows["frame"].tolist(), rows["centroid_z"].tolist()) == ([3], [7.5])


@pytest.mark.parametrize(
    ("slices", "frames", "columns"),
    [(9, 7, ["frame", "slice", "label"]), (9, 1, ["slice", "label"]), (1, 1, ["label"])],
)
def test_a_single_plane_of_several_tells_which(slices: int, frames: int, columns: list[str]) -> None:
    rows = taken("YX", slices, frames).placed_rows(Table({"label": [5, 6]}))
    assert list(rows.columns) == columns
    told = {"frame": [3, 3], "slice": [4, 4], "label": [5, 6]}
    assert all(rows[name].tolist() == told[name] for name in columns)
