"""Areas of polygons against formulas, and against counting."""

import numpy as np
import pytest
from skimage.draw import polygon2mask

from deepbio.tasks.polygons import common_area, lens_area, simplified, twice_area


def _stars(count: int, seed: int = 0, corners: int = 24) -> np.ndarray:
    drawn = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    rays = drawn.uniform(20, 40, (count, 1)) * drawn.uniform(0.6, 1, (count, corners))
    outline = rays[:, None] * np.array([np.sin(angles), np.cos(angles)])
    return np.round(outline + drawn.uniform(50, 90, (count, 2, 1)))


def _mask(polygon: np.ndarray) -> np.ndarray:
    return polygon2mask((1120, 1120), 8 * polygon.T + 3.5)


def test_common_areas_are_those_of_masks() -> None:
    stars = _stars(9)
    found = common_area(stars[0], stars[1:])
    masks = [_mask(one) for one in stars]
    counted = [(masks[0] & one).sum() / 64 for one in masks[1:]]
    np.testing.assert_allclose(found, counted, atol=6)
    assert found.max() > 500


def test_a_polygon_has_its_whole_area_in_common_with_itself() -> None:
    stars = _stars(6)
    for one in stars:
        area = abs(twice_area(one[None])[0]) / 2
        turned = one[:, ::-1]
        np.testing.assert_allclose(
            common_area(one, np.stack([one, turned, one + 500])), [area, area, 0], atol=1e-8
        )


def test_no_others() -> None:
    assert common_area(_stars(1)[0], np.zeros((0, 2, 24))).shape == (0,)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_polygons_of_fewer_corners_differ_by_no_more_than_told(step: int) -> None:
    stars = _stars(7, seed=2)
    fewer, difference = simplified(stars, step)
    assert fewer.shape[2] == -(-24 // step)
    for one, rough, told in zip(stars, fewer, difference, strict=True):
        counted = (_mask(one) ^ _mask(rough)).sum() / 64
        assert counted <= told + 5
    assert (difference > 0).all() == (step > 1)


def test_discs_have_nothing_or_all_in_common() -> None:
    distance = np.array([0.0, 3.0, 10.0, 7.0])
    np.testing.assert_allclose(lens_area(distance, 5.0, np.full(4, 2.0))[:3], [4 * np.pi, 4 * np.pi, 0])
    assert lens_area(distance, 5.0, np.full(4, 2.0))[3] == 0
    y, x = np.mgrid[-60:61, -60:61] / 10
    counted = ((y**2 + x**2 < 25) & (y**2 + (x - 4) ** 2 < 4)).sum() / 100
    np.testing.assert_allclose(lens_area(np.array([4.0]), 5.0, np.array([2.0])), counted, atol=0.2)
