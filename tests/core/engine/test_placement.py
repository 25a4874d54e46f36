"""Where working grids lie: in the world, exactly."""

import itertools

import numpy as np
import pytest

from deepbio.engine.geometry import GridSpec, place, to_working
from deepbio.engine.return_trip import scores_to_input
from deepbio.errors import CardError, InputMismatch
from deepbio.image import Grid

from .grids import GRIDS, world_of

ORIENTATIONS = ["", "SAR", "SPL", "LIP", "ARS", "IRA"]
_WORLD = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_both_grids_cover_the_same_extent(name: str, orientation: str) -> None:
    grid = GRIDS[name]
    box = ((2, 15), (3, 17), (0, 18))
    for wanted, part in itertools.product([(), (1.0, 1.0, 1.0), (3.1, None, 0.7)], [None, box]):
        placed = place(grid, GridSpec(wanted, orientation=orientation), part)
        # corners of the box (edges, not centres), in both grids
        for corner in itertools.product((0, 1), repeat=3):
            at = [span[end] - 0.5 for span, end in zip(placed.box, corner, strict=True)]
            own = np.zeros(3)
            for k, axis in enumerate(placed.axes):
                own[axis] = grid.shape[axis] - 1 - at[k] if placed.flips[k] else at[k]
            there = [n * end - 0.5 for n, end in zip(placed.grid.shape, corner, strict=True)]
            scale = 1e3 if grid.unit == "micrometer" else 1
            np.testing.assert_allclose(placed.grid.to_world(there), grid.to_world(own), atol=1e-6 * scale)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS[1:])
def test_axes_point_where_they_should(name: str, orientation: str) -> None:
    direction = place(GRIDS[name], GridSpec(orientation=orientation)).grid.direction
    for axis, letter in enumerate(orientation):
        world, sign = _WORLD[letter]
        column = direction[:, axis]
        assert np.abs(column).argmax() == world
        assert np.sign(column[world]) == sign


@pytest.mark.parametrize("name", GRIDS)
def test_permuting_and_flipping_moves_no_pixel(name: str) -> None:
    grid = GRIDS[name]
    placed = place(grid, GridSpec(orientation="ILA"))
    assert placed.exact
    np.testing.assert_allclose(
        world_of(placed.grid),
        np.moveaxis(placed.canonical(np.moveaxis(world_of(grid), -1, 0)), 0, -1),
        atol=1e-9,
    )


def test_spacing_is_the_wanted_one_up_to_whole_pixels() -> None:
    placed = place(GRIDS["axial"], GridSpec((1.0, 1.0, 1.0)))
    assert placed.grid.shape == (53, 54, 46)  # 52.5, 53.6 and 45.5 mm, rounded
    assert placed.grid.spacing == pytest.approx((52.5 / 53, 53.6 / 54, 45.5 / 46))
    in_micrometers = place(GRIDS["axial"], GridSpec((1000.0, 1000.0, 1000.0), "micrometer"))
    assert in_micrometers.grid == placed.grid


@pytest.mark.parametrize(
    ("grid", "spec", "identity", "exact"),
    [
        (Grid((5, 7, 11)), GridSpec(), True, True),
        (Grid((5, 7, 11)), GridSpec((9.0, 9.0, 9.0)), True, True),  # no unit: taken as lying on the grid
        (Grid((5, 7, 11)), GridSpec(orientation="SPL"), True, True),  # what a grid has by default
        (Grid((5, 7, 11)), GridSpec(orientation="SAR"), False, True),
        (Grid((5, 7), (0.5, 0.5), unit="micrometer"), GridSpec((0.51, 0.5), "micrometer"), True, True),
        (Grid((5, 7), (0.5, 0.5), unit="micrometer"), GridSpec((0.25, 0.5), "micrometer"), False, False),
        (Grid((50, 7), (2.0, 2.0), unit="micrometer"), GridSpec((0.002, None)), True, True),
    ],
)
def test_what_changes_nothing_is_known(grid: Grid, spec: GridSpec, identity: bool, exact: bool) -> None:
    placed = place(grid, spec)
    assert (placed.identity, placed.exact) == (identity, exact)


def test_at_45_degrees_noise_does_not_decide() -> None:
    turned = np.array([[0, -1, 1], [0, 1, 1], [np.sqrt(2), 0, 0]]) / np.sqrt(2)
    found = set()
    for seed in range(5):
        noise = 1e-9 * np.random.default_rng(seed).standard_normal((3, 3))
        placed = place(Grid((5, 7, 11), direction=turned + noise), GridSpec(orientation="SPL"))
        found.add((placed.axes, placed.flips))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("grid", "spec", "message"),
    [
        (Grid((5, 7)), GridSpec(orientation="SPL"), "orientation 'SPL', which a 2D image does not have"),
        (Grid((5, 7), unit="millimeter"), GridSpec((1.0, 1.0, 1.0)), "3D grid.*the image is 2D"),
        (
            Grid((400, 512, 512), unit="millimeter"),
            GridSpec((0.5, 0.1, 0.1), "micrometer"),
            "which would be .* pixels",
        ),
        (Grid((40, 51, 51), unit="micrometer"), GridSpec((1.0, 1.0, 1.0)), "Check the spacing and the unit"),
    ],
)
def test_what_cannot_be_meant_is_refused(grid: Grid, spec: GridSpec, message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        place(grid, spec)


def test_a_card_says_what_it_needs_and_back() -> None:
    entries = {"spacing": [1.5, None, 0.7], "unit": "micrometer", "orientation": "SAR", "crop": "nonzero"}
    spec = GridSpec.from_card(entries)
    assert spec == GridSpec((1.5, None, 0.7), "micrometer", "SAR", "nonzero")
    assert spec.to_card() == entries
    assert GridSpec.from_card({}) == GridSpec() == GridSpec.from_card(None)
    assert GridSpec().to_card() == {}
    with pytest.raises(CardError, match="orientation 'SAX'"):
        GridSpec.from_card({"orientation": "SAX"})


def test_linear_zooms_are_rounded_down_and_interpolate_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).random((2, 37, 53)).astype(np.float32)
    grid = Grid((37, 53))
    for zoom in (0.61, 1.75):
        placed = place(grid, GridSpec(interpolation="linear", zoom=zoom))
        assert placed.grid.shape == (int(37 * zoom), int(53 * zoom))
        working = np.asarray(to_working(image, placed)[:, :, :])
        given = torch.from_numpy(image)[None]
        expected = torch.nn.functional.interpolate(given, size=placed.grid.shape, mode="bilinear")[0].numpy()
        np.testing.assert_allclose(working, expected, atol=1e-5)
        (_, _, back), *_ = scores_to_input([(0, placed.grid.shape[0], working)], placed)
        returned = torch.nn.functional.interpolate(
            torch.from_numpy(expected)[None], size=(37, 53), mode="bilinear"
        )
        np.testing.assert_allclose(back, returned[0, :, : back.shape[1]].numpy(), atol=1e-5)


def test_a_whole_number_of_pixels_stays_whole_when_it_is_rounded_down() -> None:
    spec = GridSpec(interpolation="linear", zoom=30 / 25)
    assert place(Grid((100, 55), (0.1, 0.3), unit="micrometer"), spec).grid.shape == (120, 66)


def test_inside_needs_an_interpolation_that_has_it() -> None:
    with pytest.raises(CardError, match=r"inside.*it has linear"):
        GridSpec.from_card({"interpolation": "linear", "inside": "nonzero"})
