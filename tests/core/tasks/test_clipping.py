"""Common areas are those that StarDist's suppression works with: tests/data/stardist/make.py saved them."""

from pathlib import Path

import numpy as np

from deepbio.tasks.clipping import clipped_area
from deepbio.tasks.polygons import common_area, twice_area

AREAS = Path(__file__).parents[2] / "data" / "stardist" / "areas.npz"


def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Corners, shape (n, 2, 2, rays), and StarDist's common areas."""
    told = np.load(AREAS)
    angles = np.linspace(0, 2 * np.pi, told["dist"].shape[2], endpoint=False, dtype=np.float32).astype(float)
    rays = np.array([np.sin(angles), np.cos(angles)]).astype(np.float32)
    corners = np.trunc(told["points"][..., None].astype(np.float32) + told["dist"][:, :, None] * rays)
    least = np.array([np.abs(twice_area(pair)).min() / 2 for pair in corners])
    return corners, np.round(told["overlap"] * least * 2) / 2


def test_nearly_all_areas_are_stardists() -> None:
    corners, expected = _pairs()
    found = np.array([clipped_area(*pair) for pair in corners])
    assert (expected > 20).sum() > 150
    assert (found == expected).mean() > 0.97
    np.testing.assert_allclose(found, expected, atol=3)


def test_exact_areas_differ_by_little() -> None:
    corners, expected = _pairs()
    exact = np.array([common_area(one, other[None])[0] for one, other in corners])
    assert 0.01 < np.abs(exact - expected).mean() < 1
    np.testing.assert_allclose(exact, expected, atol=6)


def test_the_order_of_the_two_and_of_corners_is_all_the_same() -> None:
    for one, other in _pairs()[0][:30]:
        area = clipped_area(one, other)
        assert abs(clipped_area(other, one) - area) <= 1
        assert abs(clipped_area(one[:, ::-1], np.roll(other, 5, 1)) - area) <= 1


def test_squares_points_and_lines() -> None:
    square = np.array([[0, 0, 8, 8], [0, 8, 8, 0]])
    assert clipped_area(square, square) == 64
    assert clipped_area(square, square + [[3], [4]]) == 20
    assert clipped_area(square, square // 2 + 2) == 16
    assert clipped_area(square, square + 8) == 0
    assert clipped_area(square, square * 0 + 4) == 0
    assert clipped_area(square, square * [[1], [0]] + 2) == 0
