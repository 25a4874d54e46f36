"""Grids, images, label maps and tables: conventions, invariants and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio.errors import ImageError
from deepbio.image import RGB, Grid, Image, LabelMap, Table


def test_world_of_an_index_follows_columns_of_the_direction(oblique) -> None:
    grid = oblique(3)
    step = grid.to_world((1, 0, 0)) - grid.to_world((0, 0, 0))
    np.testing.assert_allclose(step, 1.2 * grid.direction[:, 0])
    np.testing.assert_allclose(grid.to_world((0, 0, 0)), grid.origin)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_world_and_index_are_inverse(oblique, ndim: int, left_handed: bool, rng) -> None:
    grid = oblique(ndim, left_handed=left_handed)
    index = rng.uniform(-3, 12, (17, ndim))
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, atol=1e-9)


def test_the_phantom_is_what_it_claims(phantom: Image, oblique) -> None:
    handed = [
        np.sign(np.linalg.det(oblique(3, left_handed=side).direction[:, ::-1])) for side in (False, True)
    ]
    assert handed == [1, -1]
    assert (np.abs(phantom.grid.direction) > 0.05).all()
    assert phantom.shape == (5, 7, 11)


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        ({}, True),
        ({"origin": (-17.3, 42.9, 101.7 + 1e-7)}, True),
        ({"origin": (-17.3, 42.9, 101.7 + 1e-5)}, False),
        ({"spacing": (1.2, 0.8, 0.50001)}, False),
        ({"unit": "micrometer"}, False),
        ({"shape": (5, 7, 12)}, False),
    ],
)
def test_grids_are_equal_to_a_millionth_of_a_pixel(oblique, change: dict, equal: bool) -> None:
    grid = oblique(3)
    assert (grid == grid.replace(**change)) is equal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (5,)}, "2 or 3 spatial axes"),
        ({"shape": (5, 7), "spacing": (1.0,)}, "sizes disagree"),
        ({"shape": (5, 7), "spacing": (1.0, 0.0)}, "must be positive"),
        ({"shape": (5, 7), "spacing": (1.0, float("nan"))}, "must be positive"),
        ({"shape": (5, 7), "direction": np.ones((2, 2))}, "singular"),
        ({"shape": (5, 7), "unit": "inch"}, "must be one of"),
    ],
)
def test_a_bad_grid_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Grid(**arguments)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("XY", (7, 11)), ("ZTYX", (2, 3, 7, 11)), ("YX", (5, 7, 11)), ("CYC", (3, 5, 7)), ("YX", (0, 7))],
)
def test_bad_axes_are_refused(axes: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"axes|empty"):
        Image(np.zeros(shape), axes)


def test_an_empty_axis_is_named() -> None:
    with pytest.raises(ImageError, match="its axis 'Z' has size 0"):
        Image(np.zeros((0, 7, 11)), "ZYX")


def test_complex_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="complex64"):
        Image(np.zeros((7, 11), np.complex64))


def test_take_and_plane_keep_what_belongs_to_the_part(oblique) -> None:
    pixels = np.arange(2 * 3 * 5 * 7 * 11).reshape(2, 3, 5, 7, 11)
    image = Image(pixels, "TCZYX", oblique(3), channels=("a", "b", "c"), frame_interval=2.5)
    frame = image.take("T", 1)
    assert (frame.axes, frame.channels, frame.grid) == ("CZYX", ("a", "b", "c"), image.grid)
    np.testing.assert_array_equal(frame.numpy(), pixels[1])
    one = frame.take("C", slice(1, 2))
    assert (one.axes, one.channels) == ("CZYX", ("b",))
    plane = frame.plane(3)
    assert (plane.axes, plane.grid.spacing, plane.grid.shape) == ("CYX", (0.8, 0.5), (7, 11))
    np.testing.assert_array_equal(plane.numpy(), pixels[1, :, 3])


def test_take_refuses_what_is_not_there() -> None:
    image = Image(np.zeros((7, 11)))
    assert image.take("C", 0) is image
    with pytest.raises(ImageError, match="no 'C' to take 1"):
        image.take("C", 1)
    with pytest.raises(ImageError, match="not 'Z'"):
        image.take("Z", 0)


def test_rgb_is_a_matter_of_channel_names() -> None:
    assert Image(np.zeros((3, 7, 11)), "CYX", channels=RGB).is_rgb
    assert not Image(np.zeros((3, 7, 11)), "CYX").is_rgb


@pytest.mark.parametrize("array", [np.zeros((7, 11)), np.zeros((7, 11), bool)])
def test_labels_are_integers(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="integers"):
        LabelMap(array)


def test_count_does_not_count_background() -> None:
    assert LabelMap(np.array([[0, 5, 5], [9, 0, 1]])).count == 3
    assert LabelMap(np.zeros((2, 3), int)).count == 0


def test_tables_are_stacked() -> None:
    first = Table({"label": [1, 2], "area": [0.5, 1.5]}, {"area": "um^2"})
    both = Table.concatenate([first, first])
    assert list(both.rows()) == [(1, 0.5), (2, 1.5), (1, 0.5), (2, 1.5)]
    assert both.units == {"area": "um^2"}


@pytest.mark.parametrize(
    ("columns", "units", "message"),
    [
        ({"a": [1], "b": [1, 2]}, {}, "one length"),
        ({"a": [[1]]}, {}, "1D"),
        ({"a": [1]}, {"b": "mm"}, "do not exist"),
    ],
)
def test_a_bad_table_is_refused(columns: dict, units: dict, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Table(columns, units)


def test_different_tables_are_not_stacked() -> None:
    with pytest.raises(ImageError, match="different columns"):
        Table.concatenate([Table({"a": [1]}), Table({"b": [1]})])
    with pytest.raises(ImageError, match="no table"):
        Table.concatenate([])
