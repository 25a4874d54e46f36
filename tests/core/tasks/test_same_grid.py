"""Whether labels are of an image: pixels, spacing, place."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.errors import InputMismatch
from deepbio.image import Grid, Image, LabelMap
from deepbio.tasks.same_grid import check_objects

SHAPE = (5, 7, 11)
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])[:, ::-1]
GRID = Grid(SHAPE, (1.2, 0.8, 0.5), (-13.0, 7.5, 101.0), TURN, "millimeter")


def _check(grid, shape=SHAPE, axes="ZYX"):
    image = Image(np.zeros(SHAPE, np.int16), "ZYX", GRID)
    check_objects(image, LabelMap(np.zeros(shape, np.int32), axes, grid))


@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        GRID.replace(origin=(-13.0004, 7.5, 101.0)),  # as float32 of another program may round
        Grid(SHAPE),  # without spacing: only the pixels are compared
        Grid(SHAPE, GRID.spacing, unit="millimeter"),  # with spacing, without a place
        GRID.replace(spacing=(1200, 800, 500), origin=(-13000.0, 7500.0, 101000.0), unit="micrometer"),
    ],
)
def test_labels_of_the_image(grid):
    _check(grid)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (GRID.replace(spacing=(1.2, 0.8, 0.6)), "pixels of 1.2 x 0.8 x 0.6 millimeter; the image has 1.2 x 0.8 x 0.5"),
        (GRID.replace(unit="micrometer"), "1.2 x 0.8 x 0.5 micrometer; the image has 1.2 x 0.8 x 0.5 millimeter"),
        (GRID.replace(origin=(-10.0, 7.5, 101.0)), "lie 3 millimeter away"),
        # turned back about z: the far corner of the last row moves by 2 sin(angle / 2) of its distance
        (GRID.replace(direction=np.eye(3)[:, ::-1]), r"lie 4\.38 millimeter away"),
    ],
)  # fmt: skip
def test_labels_of_another_image(grid, words):
    with pytest.raises(InputMismatch, match=words):
        _check(grid)


def test_other_numbers_of_pixels():
    with pytest.raises(InputMismatch, match="have Z=4 x Y=7 x X=11; the image has Z=5 x Y=7 x X=11"):
        _check(None, (4, 7, 11))
    with pytest.raises(InputMismatch, match="have Y=7 x X=11; the image has Z=5"):
        _check(None, (7, 11), "YX")
