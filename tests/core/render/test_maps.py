"""Heat maps, montages and scatter plots: what is drawn where."""

import numpy as np
import pytest

from deepbio.errors import OptionError
from deepbio.image import RGB, Image
from deepbio.render.explain import GAP, PANEL, STRIP, colours, heatmap
from deepbio.render.montage import Tile, montage
from deepbio.render.scatter import COLOURS, scatter_plot


def test_colours_rise_and_turn() -> None:
    rising = colours(np.linspace(0, 1, 9)).astype(int).sum(axis=1)
    assert (np.diff(rising) > 0).all()
    minus, plus = colours(np.array([-1.0, 1.0]), signed=True)
    assert minus[2] > minus[0]
    assert plus[0] > plus[2]


def test_the_map_is_where_it_is_high() -> None:
    image = Image(np.full((20, 40), 500, np.uint16))
    found = np.zeros((20, 40), np.float32)
    found[:10, 20:] = 3.0
    page = np.asarray(heatmap(image, Image(found), title="a.tif")).astype(int)
    top, left = STRIP + GAP, GAP + PANEL + GAP
    plain, covered = page[top : top + 210, GAP : GAP + PANEL], page[top : top + 210, left : left + PANEL]
    assert np.ptp(plain.reshape(-1, 3), axis=1).max() == 0  # grey
    changed = np.abs(covered - plain).sum(axis=2) > 30
    assert changed[10:95, 220:410].all()
    assert not changed[115:200].any()


def test_negative_numbers_are_blue_and_stacks_have_rows() -> None:
    image = Image(np.full((5, 12, 12), 100, np.uint8), "ZYX")
    found = np.zeros((5, 12, 12), np.float32)
    found[:, :6], found[:, 6:] = -1.0, 1.0
    page = np.asarray(heatmap(image, Image(found, "ZYX"))).astype(int)
    assert page.shape[0] == STRIP + GAP + 4 * (PANEL + GAP)
    left = GAP + PANEL + GAP
    upper, lower = page[STRIP + GAP + 50, left + 50], page[STRIP + GAP + 350, left + 50]
    assert upper[2] > upper[0] + 40
    assert lower[0] > lower[2] + 40


def test_both_maps_beside_each_other_in_colour() -> None:
    image = Image(np.full((3, 10, 10), 200, np.uint8), "CYX", channels=RGB)
    unsure = Image(np.random.default_rng(0).random((2, 10, 10)), "CYX", channels=("entropy", "variance"))
    page = heatmap(image, Image(np.eye(10)), unsure)
    assert page.width == GAP + 3 * (PANEL + GAP) + 2 * 92


def test_what_cannot_be_drawn() -> None:
    image = Image(np.zeros((10, 10)))
    with pytest.raises(OptionError, match="no map to draw"):
        heatmap(image)
    with pytest.raises(OptionError, match="parts of its own"):
        heatmap(image, None, Image(np.zeros((3, 3))))


def test_groups_of_a_scatter_plot() -> None:
    places = np.array([[0.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    page = np.asarray(scatter_plot(places, ("PC 1", "PC 2"), ["b", "a", "b"], title="t"))
    centre = {"a": page[58, 620 - 46 - 12], "b": page[58, 58]}
    for number, name in enumerate(("a", "b")):
        np.testing.assert_allclose(centre[name], COLOURS[number], atol=3)
    many = scatter_plot(
        np.random.default_rng(0).random((40, 2)), ("x", "y"), [str(n % 20) for n in range(40)]
    )
    assert many.size == (810, 620)
    assert scatter_plot(places, ("x", "y")).size == (620, 620)


def test_a_montage_shows_objects_around_their_centre() -> None:
    pixels = np.zeros((90, 130), np.uint8)
    pixels[60:70, 100:110] = 255
    tiles = [
        Tile(Image(pixels), "query", centre=(65.0, 105.0), marked=True),
        Tile(Image(pixels), "whole"),
    ] * 4
    page = np.asarray(montage(tiles)).astype(int)
    assert page.shape == (10 + 2 * 200, 10 + 6 * 160, 3)
    assert page[10 + 92, 10 + 92].mean() > 200  # the crop is moved inside the image
    assert (page[7, 12] == (213, 94, 0)).all()
