"""The grid of MONAI's Spacingd: places, exact spacing, and the way back."""

import numpy as np
import pytest

from deepbio.engine.geometry import place, to_working
from deepbio.engine.grid_spec import GridSpec
from deepbio.engine.resample import AxisMap
from deepbio.engine.return_trip import scores_to_input
from deepbio.image import Grid
from tests.core.engine.grids import GRIDS

SPEC = GridSpec((2.0, 1.3, 1.5), orientation="SAR", interpolation="monai")


@pytest.mark.parametrize("name", ["axial", "oblique", "left-handed", "sagittal"])
def test_places_have_the_spacing_and_the_world_that_they_say(name):
    placed = place(GRIDS[name], SPEC)
    np.testing.assert_allclose(placed.grid.spacing, (2.0, 1.3, 1.5))
    places = np.array([[0, 0, 0], [3, 5, 2]])
    there = placed.to_source(places)
    np.testing.assert_allclose(placed.grid.to_world(places), GRIDS[name].to_world(there), atol=1e-9)
    np.testing.assert_allclose(placed.to_grid(there), places, atol=1e-9)


def test_grids_along_the_world_begin_at_the_same_centre_and_oblique_ones_share_the_middle():
    axial, oblique = place(GRIDS["axial"], SPEC), place(GRIDS["oblique"], SPEC)
    # n pixels of s become round((n - 1) * s / t + 1) of t
    assert axial.grid.shape == oblique.grid.shape == (26, 42, 31)
    assert [first for first, _ in axial.lines] == [0, 0, 0]
    steps = [2.0 / 2.5, 1.3 / 0.8, 1.5 / 0.5]
    np.testing.assert_allclose([step for _, step in oblique.lines], steps)
    middles = [
        n / 2 - step * count / 2 for n, step, count in zip((21, 67, 91), steps, (26, 42, 31), strict=True)
    ]
    np.testing.assert_allclose([first for first, _ in oblique.lines], middles)


def test_a_ramp_is_read_at_the_places_and_the_last_pixel_goes_on():
    grid = Grid((1, 7), (1.0, 1.0), unit="millimeter")
    ramp = np.arange(7.0).reshape(1, 1, 7)
    values = to_working(ramp, place(grid, GridSpec((None, 0.4), interpolation="monai")))[0, 0]
    np.testing.assert_allclose(values, np.arange(16) * 0.4, atol=1e-6)
    beyond = AxisMap(3, 5, widen=False, line=(-0.5, 1.0)).matrix(0, 5) @ [1.0, 2.0, 3.0]
    np.testing.assert_allclose(beyond, [1, 1.5, 2.5, 3, 3])


def test_the_same_number_of_pixels_is_not_the_same_grid():
    grid = Grid((4, 4), (1.0, 1.0), unit="millimeter")
    assert not place(grid, GridSpec((1.0, 1.1), interpolation="monai")).exact
    assert place(grid, GridSpec((1.0, 1.0009), interpolation="monai")).identity  # MONAI's tolerance


@pytest.mark.parametrize(
    ("back", "expected"), [("", [0, 0.5, 1, 1.5, 2, 2.5, 3]), ("nearest", [0, 0, 1, 2, 2, 2, 3])]
)
def test_scores_come_back_linearly_or_by_the_nearest_place(back, expected):
    grid = Grid((1, 7), (1.0, 1.0), unit="millimeter")
    placed = place(grid, GridSpec((None, 2.0), interpolation="monai", back=back))
    assert placed.grid.shape == (1, 4)
    scores = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    ((_, _, found),) = scores_to_input([(0, 1, scores)], placed)
    np.testing.assert_allclose(found[0, 0], expected)  # halves go to the even place, as in torch
