"""Interpolation along an axis: constants, lines, and a reference written in words."""

import numpy as np
import pytest
from skimage.transform import resize

from deepbio.engine.resample import AxisMap, interpolate, interpolate_axis, nearest

SIZES = [(5, 5), (5, 7), (64, 131), (131, 64), (200, 33), (7, 1), (1, 7), (2, 3), (300, 273)]


def _places(size: int, count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) * size / count - 0.5


@pytest.mark.parametrize(("size", "count"), SIZES)
@pytest.mark.parametrize("kernel", ["linear", "cubic", "spline", "nearest"])
@pytest.mark.parametrize("widen", [True, False])
def test_constants_are_kept_everywhere(size: int, count: int, kernel: str, widen: bool) -> None:
    mapping = AxisMap(size, count, kernel=kernel, widen=widen)
    values = interpolate_axis(np.full((2, size, 3), 7, np.float32), 1, mapping, 0, count)
    np.testing.assert_allclose(values, np.full((2, count, 3), 7), rtol=1e-6)


@pytest.mark.parametrize(("size", "count"), [(64, 131), (131, 64), (200, 33), (300, 273), (300, 299)])
@pytest.mark.parametrize("kernel", ["linear", "cubic", "spline"])
def test_lines_are_kept_away_from_the_edges(size: int, count: int, kernel: str) -> None:
    ramp = (np.arange(size, dtype=np.float32) / size)[None, :]
    values = interpolate_axis(ramp, 1, AxisMap(size, count, kernel=kernel), 0, count)[0]
    reach = 12 if kernel == "spline" else 2 * max(1, size / count)
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
    found = interpolate_axis(pixels[None].astype(np.float32), 1, AxisMap(23, 61, kernel="cubic"), 0, 61)[0]
    for place, value in zip(_places(23, 61), found, strict=True):
        left = int(np.floor(place))
        a, b, c, d = pixels[np.clip(np.arange(left - 1, left + 3), 0, 22)]
        t = place - left  # Catmull and Rom's spline, which Keys' kernel with a = -0.5 is
        cubic = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        assert value == pytest.approx(cubic, abs=1e-5)


@pytest.mark.parametrize(("size", "count"), [(5, 7), (64, 131), (131, 64), (2, 3), (40, 9)])
def test_spline_and_linear_are_those_of_scikit_image(size: int, count: int) -> None:
    pixels = np.random.default_rng(0).standard_normal((size, 3))
    for kernel, order in (("spline", 3), ("linear", 1)):
        mapping = AxisMap(size, count, kernel=kernel, widen=False)
        needed = slice(*mapping.span(0, count))
        found = interpolate_axis(pixels[None, needed].astype(np.float32), 1, mapping, 0, count)[0]
        expected = resize(pixels, (count, 3), order, mode="edge", anti_aliasing=False, clip=False)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_nearest_is_the_pixel_whose_centre_is_nearest() -> None:
    pixels = np.arange(9, dtype=np.float32)[None]
    fewer, more = AxisMap(9, 4, kernel="nearest"), AxisMap(9, 12, kernel="nearest")
    assert (fewer.span(0, 4), fewer.span(1, 3)) == ((1, 8), (3, 6))
    assert interpolate_axis(pixels[:, 1:8], 1, fewer, 0, 4)[0].tolist() == [
        1,
        3,
        5,
        7,
    ]  # of 0.625, 2.875, 5.125, 7.375
    assert interpolate_axis(pixels[:, 3:6], 1, more, 4, 8)[0].tolist() == [
        3,
        4,
        4,
        5,
    ]  # of 2.875, 3.625, 4.375, 5.125


def test_nothing_is_skipped_when_shrinking() -> None:
    for kernel in ("linear", "cubic"):
        weight = AxisMap(100, 9, kernel=kernel).matrix(0, 9).sum(0)
        # each pixel counts about as much as the others: a point between two places is not lost
        assert 0.07 < weight[20:80].min() <= weight[20:80].max() < 0.11


@pytest.mark.parametrize(("size", "count"), SIZES)
def test_any_part_equals_the_whole(size: int, count: int) -> None:
    pixels = np.random.default_rng(1).standard_normal((2, 3, size)).astype(np.float32)
    mapping = AxisMap(size, count, kernel="cubic")
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
