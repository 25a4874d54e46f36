"""Normalised first and interpolated then: statistics of the box, nothing beyond the values that there are."""

import numpy as np
import pytest
from skimage.transform import resize

from deepbio.engine.early import EarlyNormalised, early_statistics, early_working
from deepbio.engine.geometry import GridSpec, place_image
from deepbio.library.card import Step

from .grids import GRIDS

STEPS = [Step("zero_mean_unit_variance", {"axes": ["z", "y", "x"], "eps": 1e-8})]


def _spec(**more) -> GridSpec:
    return GridSpec((1.5, 1.2, 1.1), crop="nonzero", interpolation="nnunet", **more)


def _image(shape: tuple[int, ...], channels: int = 2) -> np.ndarray:
    image = np.random.default_rng(0).integers(50, 900, (channels, *shape)).astype(np.int16)
    image[:, :3] = image[:, :, -5:] = image[..., :4] = 0
    image[:, 8:11, 9:20, 12:25] = 0
    return image


@pytest.mark.parametrize("inside", ["", "nonzero"])
def test_statistics_are_those_of_the_box_in_any_orientation(inside: str) -> None:
    grid = GRIDS["left-handed"]
    image = _image(grid.shape)
    found = {}
    for orientation in ("", "SAR", "LPI"):
        spec = _spec(inside=inside, orientation=orientation)
        placement = place_image(image, grid, spec)
        assert np.prod(placement.box_shape) < np.prod(grid.shape)
        found[orientation] = early_statistics(image, placement, spec, STEPS)(image)
    box = image[:, 3:, :-5, 4:].astype(float)
    kept = box[:, box.any(0)] if inside else box.reshape(2, -1)
    expected = (image - kept.mean(1).reshape(2, 1, 1, 1)) / kept.std(1).reshape(2, 1, 1, 1)
    if inside:
        expected[:, ~image.any(0)] = 0
    for values in found.values():
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_isotropic_pixels_are_splines_within_the_values_that_there_are() -> None:
    grid = GRIDS["left-handed"]
    image = _image(grid.shape)
    spec = _spec(inside="nonzero")
    placement = place_image(image, grid, spec)
    normalise = early_statistics(image, placement, spec, STEPS)
    ready = normalise(image)[(slice(None), *placement.in_box)]
    working = early_working(image, placement, normalise)
    assert working.dtype == np.float32
    for channel in range(2):
        expected = resize(
            ready[channel].astype(float), placement.grid.shape, 3, mode="edge", anti_aliasing=False
        )
        np.testing.assert_allclose(working[channel], expected, atol=1e-4)
        assert working[channel].min() >= ready[channel].min()  # skimage clips, too
    part = working[1:2, 3:9, 5:30:2, 4]
    np.testing.assert_allclose(part, working[...][1:2, 3:9, 5:30:2, 4], atol=1e-6)


def test_thick_slices_are_taken_as_the_nearest() -> None:
    grid = GRIDS["axial"]  # 2.5 x 0.8 x 0.5
    image = _image(grid.shape, channels=1)
    spec = GridSpec((1.0, 0.6, 0.7), interpolation="nnunet")
    placement = place_image(image, grid, spec)
    assert placement.grid.shape == (52, 89, 65)  # 52.5 slices: nnU-Net rounds halves to even
    working = early_working(image, placement, early_statistics(image, placement, spec, []))
    nearest = np.floor((np.arange(52) + 0.5) * 21 / 52).astype(int)
    flat = np.stack(
        [resize(one.astype(float), (89, 65), 3, mode="edge", anti_aliasing=False) for one in image[0]]
    )
    found = working[0]
    inner = (flat[nearest] > image.min()) & (flat[nearest] < image.max())  # clipped there slice by slice
    np.testing.assert_allclose(found[inner], flat[nearest][inner], atol=0.05)
    # back: linear along the others, again the nearest along the thick one
    taps = [np.count_nonzero(m.matrix(0, m.count).round(6), axis=1).max() for m in placement.back_maps]
    assert taps == [1, 2, 2]


def test_where_nothing_is_interpolated_values_are_only_normalised() -> None:
    grid = GRIDS["oblique"]
    image = _image(grid.shape)
    spec = GridSpec(crop="nonzero", interpolation="nnunet")
    placement = place_image(image, grid, spec)
    normalise = early_statistics(image, placement, spec, STEPS)
    working = early_working(image, placement, normalise)
    np.testing.assert_array_equal(working[...], normalise(image)[(slice(None), *placement.in_box)])


def test_one_channel_is_normalised_with_what_all_channels_say_is_inside() -> None:
    image = np.zeros((2, 3, 4), np.float32)
    image[0, 1, 2], image[1, 0, 1] = 5, 7
    spec = GridSpec(interpolation="nnunet", inside="nonzero")
    grid = GRIDS["axial"].replace(shape=(1, 3, 4))
    placement = place_image(image[:, None], grid, spec)
    view = EarlyNormalised(image[:, None], early_statistics(image[:, None], placement, spec, STEPS))
    np.testing.assert_allclose(view[0:1, 0:1, 0:2, 1:3][0, 0], [[-1, 0], [0, 1]], atol=1e-6)
