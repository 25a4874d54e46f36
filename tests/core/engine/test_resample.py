"""Interpolation along an axis: constants, lines, and a reference written in words."""

import numpy as np
import pytest

from deepbio.engine.resample import AxisMap, interpolate, interpolate_axis, nearest

SIZES = [(5, 5), (5, 7), (64, 131), (131, 64), (200, 33), (7, 1), (1, 7), (2, 3), (300, 273)]


def _places(size: int, count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) * size / count - 0.5


@pytest.mark.parametrize(("size", "count"), SIZES)
@pytest.mark.parametrize("cubic", [False, True])
def test_constants_are_kept_everywhere(size: int, count: int, cubic: bool) -> None:
    mapping = AxisMap(size, count, cubic=cubic)
    values = interpolate_axis(np.full((2, size, 3), 7, np.float32), 1, mapping, 0, count)
    np.testing.assert_allclose(values, np.full((2, count, 3), 7), rtol=1e-6)


@pytest.mark.parametrize(("size", "count"), [(64, 131), (131, 64), (200, 33), (300, 273), (300, 299)])
@pytest.mark.parametrize("cubic", [False, True])
def test_lines_are_kept_away_from_the_edges(size: int, count: int, cubic: bool) -> None:
    ramp = (np.arange(size, dtype=np.float32) / size)[None, :]
    values = interpolate_axis(ramp, 1, AxisMap(size, count, cubic=cubic), 0, count)[0]
    reach = 2 * max(1, size / count)
    places = _places(size, count)
    inner = (places > reach) & (places < size - 1 - reach)
    assert inner.sum() > count / 2
    np.testing.assert_allclose(values[inner], places[inner] / size, atol=1e-5)


def test_linear_equals_numpy_when_growing() -> None:
    pixels = np.random.default_rng(0).standard_normal(23).astype(np.float32)
    found = interpolate_axis(pixels[None], 1, AxisMap(23, 61), 0, 61)[0]
    np.testing.assert_allclose(found, np.interp(_places(23, 61), np.arange(23), pixels), atol=1e-5)


def test_cubic_is_the_kernel_of_keys() -> None:
    pixels = np.random.default_rng(0).standard_normal(23)
    found = interpolate_axis(pixels[None].astype(np.float32), 1, AxisMap(23, 61, cubic=True), 0, 61)[0]
    for place, value in zip(_places(23, 61), found, strict=True):
        left = int(np.floor(place))
        a, b, c, d = pixels[np.clip(np.arange(left - 1, left + 3), 0, 22)]
        t = place - left  # Catmull and Rom's spline, which Keys' kernel with a = -0.5 is
        cubic = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        assert value == pytest.approx(cubic, abs=1e-5)


def test_nothing_is_skipped_when_shrinking() -> None:
    for cubic in (False, True):
        weight = AxisMap(100, 9, cubic=cubic).matrix(0, 9).sum(0)
        # each pixel counts about as much as the others: a point between two places is not lost
        assert 0.07 < weight[20:80].min() <= weight[20:80].max() < 0.11


@pytest.mark.parametrize(("size", "count"), SIZES)
def test_any_part_equals_the_whole(size: int, count: int) -> None:
    pixels = np.random.default_rng(1).standard_normal((2, 3, size)).astype(np.float32)
    mapping = AxisMap(size, count, cubic=True)
    whole = interpolate_axis(pixels, 2, mapping, 0, count)
    for start in range(0, count, 29):
        stop = min(start + 29, count)
        low, high = mapping.span(start, stop)
        part = interpolate_axis(np.ascontiguousarray(pixels[:, :, low:high]), 2, mapping, start, stop)
        np.testing.assert_allclose(part, whole[:, :, start:stop], atol=1e-5)


def test_an_axis_can_be_left_out() -> None:
    pixels = np.random.default_rng(2).standard_normal((1, 5, 6)).astype(np.float32)
    maps = [AxisMap(5, 9), AxisMap(6, 4)]
    first = interpolate(pixels, maps, [(0, 9), (0, 4)], skip=1)
    assert first.shape == (1, 9, 6)
    both = interpolate(pixels, maps, [(0, 9), (0, 4)])
    np.testing.assert_allclose(interpolate_axis(first, 2, maps[1], 0, 4), both, atol=1e-6)


@pytest.mark.parametrize(("size", "count"), SIZES)
def test_nearest_is_the_pixel_that_holds_the_centre(size: int, count: int) -> None:
    found = nearest(size, count)
    expected = np.floor((np.arange(count) + 0.5) * size / count).astype(int)
    np.testing.assert_array_equal(found, expected)
