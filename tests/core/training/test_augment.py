"""Random patches: exact without randomness, consistent with it."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

from deepbio.training.augment import Augmentation, change_intensity, draw_patch

STILL = Augmentation(
    rotation=0, scale=(1, 1), mirror=(), gamma=(1, 1), contrast=(1, 1), brightness=0, noise=0, blur=0,
    low_resolution=1, colour=0, to_grey=0, tint=0,
)  # fmt: skip


class _Centred(np.random.Generator):
    """A generator whose uniform draws are the middle of their range."""

    def uniform(self, low=0.0, high=1.0, size=None):
        middle = (np.asarray(low, float) + high) / 2
        return middle if size is None else np.broadcast_to(middle, size)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", [(23, 31), (11, 13, 17)])
def test_a_still_patch_is_a_crop(shape: tuple[int, ...]) -> None:
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    image = labels[None].astype(np.float32)
    centre = np.array([n // 2 for n in shape], float)
    pixels, marks = draw_patch(image, labels, centre, (5,) * len(shape), STILL, _Centred(np.random.PCG64(0)))
    inside = tuple(slice(n // 2 - 2, n // 2 + 3) for n in shape)
    np.testing.assert_array_equal(marks, labels[inside])
    np.testing.assert_allclose(pixels[0], labels[inside], atol=0.05)


@pytest.mark.parametrize("shape", [(64, 90), (20, 33, 41)])
def test_image_and_labels_move_together(shape: tuple[int, ...]) -> None:
    labels = (np.indices(shape) // 7).sum(0).astype(np.int32) % 5
    settings = Augmentation(mirror=tuple(range(len(shape))), elastic=3)
    for seed in range(8):
        centre = _rng(seed).uniform(0, np.array(shape) - 1)
        size = (24, 20, 16)[: len(shape)]
        pixels, marks = draw_patch(
            labels[None].astype(np.float32), labels, centre, size, settings, _rng(seed)
        )
        assert set(np.unique(marks)) <= set(range(5))
        # away from edges of labels interpolation changes nothing
        assert np.mean(np.abs(pixels[0] - marks) < 0.5) > 0.85


def test_a_patch_larger_than_the_image_is_reflected() -> None:
    labels = np.arange(35, dtype=np.int32).reshape(5, 7)
    _, marks = draw_patch(
        labels[None].astype(np.float32),
        labels,
        np.array([2.0, 3.0]),
        (9, 9),
        STILL,
        _Centred(np.random.PCG64(0)),
    )
    np.testing.assert_array_equal(marks, np.pad(labels, ((2, 2), (1, 1)), mode="symmetric"))


def test_the_same_seed_gives_the_same_patch() -> None:
    image = _rng().random((3, 50, 60), np.float32)
    labels = (image[0] > 0.5).astype(np.int32)
    drawn = [
        draw_patch(image, labels, np.array([20.0, 30]), (32, 32), Augmentation(), _rng(s)) for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    assert not np.array_equal(drawn[0][0], drawn[2][0])


def test_still_intensities_stay() -> None:
    image = _rng().random((3, 20, 30), np.float32)
    np.testing.assert_allclose(change_intensity(image, STILL, _rng()), image, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_intensities_stay_finite_and_vary(channels: int) -> None:
    image = _rng().normal(0.3, 0.4, (channels, 20, 30)).astype(np.float32)
    results = [change_intensity(image, Augmentation(), _rng(s)) for s in range(20)]
    assert all(np.isfinite(r).all() and r.dtype == np.float32 and r.shape == image.shape for r in results)
    assert np.std([r.mean() for r in results]) > 0.02


def test_colour_is_lost_and_gained_on_request() -> None:
    colour = _rng().random((3, 8, 9), np.float32)
    grey = np.repeat(colour[:1], 3, axis=0)
    lost = change_intensity(colour, dataclasses.replace(STILL, to_grey=1), _rng())
    assert np.ptp(lost, axis=0).max() < 1e-6
    gained = change_intensity(grey, dataclasses.replace(STILL, tint=1), _rng())
    assert np.ptp(gained, axis=0).max() > 0.1
    assert np.abs(gained).max() <= grey.max() + 1e-6


def test_a_given_zoom_enlarges_about_the_centre() -> None:
    labels = np.zeros((41, 41), np.int32)
    labels[18:23, 18:23] = 1
    centre = np.array([20.0, 20.0])
    image = labels[None].astype(np.float32)
    _, marks = draw_patch(image, labels, centre, (31, 31), STILL, _Centred(np.random.PCG64(0)), zoom=3.0)
    assert np.sqrt(np.count_nonzero(marks)) == pytest.approx(15, abs=1)
    rows = np.flatnonzero(marks.any(1))
    assert (rows[0] + rows[-1]) / 2 == 15


def test_mixing_colours_keeps_white_white() -> None:
    settings = dataclasses.replace(STILL, mix=0.3)
    colours = np.stack([np.full((4, 5), v, np.float32) for v in (0.2, 0.9, 0.4)])
    colours[:, 0] = 1
    out = change_intensity(colours, settings, _rng(3))
    np.testing.assert_allclose(out[:, 0], 1, atol=1e-5)
    assert np.abs(out[:, 1] - colours[:, 1]).max() > 0.02


def test_thick_slices_turn_in_space() -> None:
    """A plane through a turned body keeps its angle in mm, not in voxels."""
    shape = (9, 40, 40)
    _, y, x = np.indices(shape)
    labels = (np.hypot((y - 20) * 2.0, x - 20) < 12).astype(np.int32)  # a disc where y is twice as long
    settings = dataclasses.replace(STILL, rotation=90, in_plane=True, spacing=(5.0, 2.0, 1.0))
    centre = np.array([4.0, 20, 20])
    for seed in range(3):
        _, marks = draw_patch(
            labels[None].astype(np.float32), labels, centre, (5, 17, 31), settings, _rng(seed)
        )
        extent = [np.ptp(np.flatnonzero(marks[2].any(axis))) + 1 for axis in (1, 0)]
        assert extent[0] == pytest.approx(12, abs=3)  # 23 mm over 2 mm
        assert extent[1] == pytest.approx(23, abs=5)


def test_intensities_vary_alike_on_any_scale() -> None:
    image = _rng().random((1, 8, 9), np.float32)
    low, high = -3.0, 2.0
    scaled = image * (high - low) + low
    settings = dataclasses.replace(Augmentation(), intensity=(low, high))
    plain = change_intensity(image, Augmentation(), _rng(5))
    np.testing.assert_allclose(
        (change_intensity(scaled, settings, _rng(5)) - low) / (high - low), plain, atol=1e-4
    )


def test_low_resolution_leaves_thick_slices() -> None:
    from deepbio.training.augment import _lower_resolution

    image = np.broadcast_to(np.arange(6, dtype=np.float32)[None, :, None, None], (1, 6, 8, 8)).copy()
    np.testing.assert_array_equal(_lower_resolution(image, 2.0, 0), image)
    assert not np.array_equal(_lower_resolution(image, 2.0, None), image)


@pytest.mark.parametrize("size", [(8, 5), (6, 7, 5)])
def test_patches_that_are_not_resampled_are_cut_out_and_flipped(size: tuple[int, ...]) -> None:
    shape = (23, 31, 19)[: len(size)]
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    image = labels[None].astype(np.float32)
    settings = dataclasses.replace(Augmentation(elastic=3), spatial=0.0, mirror=(1,))
    flipped = set()
    for seed in range(6):
        centre = _rng(seed).uniform(9, 10, len(size))
        pixels, marks = draw_patch(image, labels, centre, size, settings, _rng(seed))
        if marks[(0,) * marks.ndim] > marks[(0, 1, *[0] * (marks.ndim - 2))]:
            marks, pixels = np.flip(marks, 1), np.flip(pixels, 2)
            flipped.add(seed)
        start = np.argwhere(labels == marks.flat[0])[0]
        inside = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        np.testing.assert_array_equal(marks, labels[inside])
        np.testing.assert_allclose(pixels[0], labels[inside], atol=0.01)
        assert np.all(np.abs(start + (np.array(size) - 1) / 2 - centre) <= 0.5)
    assert 0 < len(flipped) < 6


def test_the_share_of_resampled_patches_is_the_one_asked_for() -> None:
    image = np.arange(30.0, dtype=np.float32)[:, None] * np.ones(30, np.float32)
    settings = dataclasses.replace(Augmentation(mirror=()), spatial=0.3)
    whole = [
        np.allclose(draw_patch(image[None], image.astype(np.int32), np.array([15.0, 15]), (5, 5), settings, _rng(n))[0] % 1, 0, atol=1e-3)
        for n in range(200)
    ]  # fmt: skip
    assert 0.6 < np.mean(whole) < 0.8
