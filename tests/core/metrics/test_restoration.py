"""PSNR and SSIM by their formulas, and a noise level that is near the true one."""

import numpy as np
import pytest

from deepbio.errors import InputMismatch
from deepbio.metrics.restoration import exposed, fit_intensity, noise_level, psnr, ssim


def test_psnr_by_hand(rng) -> None:
    truth = rng.uniform(10, 60, (7, 11))
    image = truth + rng.normal(0, 3, truth.shape)
    wanted = 10 * np.log10((truth.max() - truth.min()) ** 2 / np.mean((image - truth) ** 2))
    assert psnr(image, truth) == pytest.approx(wanted, rel=1e-12)
    assert psnr(truth, truth) == np.inf


def test_a_factor_and_an_offset_are_no_error(rng) -> None:
    truth = rng.integers(0, 255, (9, 13)).astype(np.uint8)
    np.testing.assert_allclose(fit_intensity(0.01 * truth - 3, truth), truth, atol=1e-9)
    noisy = truth + rng.normal(0, 20, truth.shape)
    fitted = fit_intensity(noisy, truth)
    for slope, offset in ((1.01, 0), (0.99, 0), (1, 1), (1, -1)):  # nothing near is better
        assert np.mean((fitted - truth) ** 2) < np.mean((slope * fitted + offset - truth) ** 2)


def test_a_constant_image_becomes_the_mean() -> None:
    truth = np.array([[1.0, 2.0], [3.0, 6.0]])
    np.testing.assert_allclose(fit_intensity(np.full((2, 2), 7), truth), 3.0)


def test_what_is_overexposed_may_be_as_bright_as_it_is(rng) -> None:
    light = rng.gamma(2, 30, (37, 53))
    truth = np.minimum(light, 120)  # 9 % of the pixels
    counted = exposed(truth)
    assert counted is not None
    np.testing.assert_array_equal(counted, light < 120)
    restored = 0.5 * light - 7
    assert psnr(fit_intensity(restored, truth), truth) < 25
    assert psnr(fit_intensity(restored, truth, counted), truth, counted) > 200
    # the range is that of the whole truth, and what is wrong elsewhere counts
    wrong = truth + np.where(counted, 3.0, 99.0)
    assert psnr(wrong, truth, counted) == pytest.approx(20 * np.log10((120 - truth.min()) / 3))
    assert exposed(light) is None
    assert exposed(np.zeros((3, 5))) is None  # a constant truth is not all too bright


def test_ssim_knows_structure(rng) -> None:
    truth = rng.uniform(0, 1, (5, 19, 23))
    assert ssim(truth, truth) == pytest.approx(1.0)
    a, b = ssim(truth + rng.normal(0, 0.05, truth.shape), truth), ssim(1 - truth, truth)
    assert 0.9 < a < 1
    assert b < 0
    assert ssim(truth[0, :5, :4], truth[0, :5, :4]) == pytest.approx(1.0)
    assert np.isnan(ssim(truth[0, :1], truth[0, :1]))


def test_shapes_must_be_equal() -> None:
    with pytest.raises(InputMismatch, match=r"\(2, 3\), its truth \(3, 2\)"):
        psnr(np.zeros((2, 3)), np.zeros((3, 2)))


@pytest.mark.parametrize("sigma", [0.5, 4.0, 25.0])
def test_the_level_of_the_noise(rng, sigma) -> None:
    smooth = 100 * np.sin(np.arange(97) / 15)[:, None] * np.cos(np.arange(120) / 11)
    assert noise_level(smooth + rng.normal(0, sigma, smooth.shape)) == pytest.approx(sigma, rel=0.1)
    assert noise_level(np.zeros((1, 9))) == 0


def test_an_image_that_is_mostly_black_has_noise_where_it_is_not(rng) -> None:
    image = np.zeros((80, 80))
    image[:20] = rng.normal(50, 8, (20, 80))
    assert 2 < noise_level(image) < 9
