"""How near a restored image is to its truth: PSNR and SSIM, once the intensities are fitted."""

from __future__ import annotations

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deepbio.errors import InputMismatch

__all__ = ["exposed", "fit_intensity", "noise_level", "psnr", "ssim"]

_WINDOW = 7  # of the structural similarity
_OVEREXPOSED, _FEW = (
    5e-4,
    8,
)  # part and number of pixels above which the highest value is where it was cut off
_MAD = 0.6745  # median of the absolute value of a standard normal number


def exposed(truth: np.ndarray) -> np.ndarray | None:
    """Where a truth is one: not where it is overexposed.

    A camera, or a file that was scaled for display, cuts off what is brighter than its highest value. How bright
    such a pixel was is not known, and a restoration that says it is not wrong.

    Parameters
    ----------
    truth : ndarray

    Returns
    -------
    ndarray of bool, or None
        False at the highest value, if more than 0.05 % of the pixels (and more than 8) share it; else None.

    Examples
    --------
    >>> exposed(np.arange(30)) is None, int(exposed(np.minimum(np.arange(30), 20)).sum())
    (True, 20)
    """
    brightest = truth == truth.max()
    count = int(brightest.sum())
    return ~brightest if max(_OVEREXPOSED * truth.size, _FEW) < count < truth.size else None


def fit_intensity(image: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Bring an image to the intensities of its truth: factor and offset of the least squares.

    Cameras, exposures and files that are scaled for display differ by both; neither is an error of
    the restoration.

    Parameters
    ----------
    image, truth : ndarray
        Of one shape.
    counted : ndarray of bool, optional
        Which pixels are fitted; by default all.

    Returns
    -------
    ndarray of float64
        ``a * image + b``; the mean of the truth where the image is constant.

    Raises
    ------
    InputMismatch
        If the shapes differ.

    Examples
    --------
    >>> fit_intensity(np.array([0, 1, 2]), np.array([5.0, 7.0, 9.0])).tolist()
    [5.0, 7.0, 9.0]
    """
    image, truth = _pair(image, truth)
    some, same = (image, truth) if counted is None else (image[counted], truth[counted])
    centred = some - some.mean()
    power = float(np.vdot(centred, centred))
    slope = float(np.vdot(centred, same)) / power if power > 0 else 0.0
    return np.asarray(slope * (image - some.mean()) + same.mean())


def psnr(image: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over the range of the truth; infinite where they are equal.

    Parameters
    ----------
    image, truth : ndarray
        Of one shape.
    counted : ndarray of bool, optional
        Which pixels are compared, still over the range of the whole truth; by default all.

    Examples
    --------
    >>> round(psnr(np.array([0.0, 9.0]), np.array([0.0, 10.0])), 2)
    23.01
    """
    image, truth = _pair(image, truth)
    high = _range(truth)
    if counted is not None:
        image, truth = image[counted], truth[counted]
    if np.array_equal(image, truth):
        return float("inf")
    return float(peak_signal_noise_ratio(truth, image, data_range=high))  # type: ignore[no-untyped-call]


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity over the range of the truth, in windows of 7 pixels.

    Images that are thinner than that along an axis have smaller windows.

    Examples
    --------
    >>> truth = np.arange(63.0).reshape(7, 9)
    >>> ssim(truth, truth)
    1.0
    """
    image, truth = _pair(image, truth)
    if min(truth.shape) < 3:  # a flat axis has no structure
        return ssim(image[0], truth[0]) if truth.ndim > 2 and truth.shape[0] == 1 else float("nan")
    window = min(_WINDOW, (min(truth.shape) - 1) // 2 * 2 + 1)
    return float(structural_similarity(truth, image, win_size=window, data_range=_range(truth)))  # type: ignore[no-untyped-call]


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the noise, estimated from the differences of neighbours.

    The median absolute deviation of the diagonal details in the finest scale of a Haar wavelet, as
    Donoho and Johnstone, Biometrika 81:425 (1994, doi:10.1093/biomet/81.3.425); structures that are
    smooth over two pixels hardly count.

    Parameters
    ----------
    image : ndarray, shape ([z,] y, x)

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(50, 3, (65, 64))
    >>> 2.8 < noise_level(noise) < 3.2
    True
    """
    plane = np.asarray(image, np.float64)
    if min(plane.shape[-2:]) < 2:
        return 0.0
    rows = plane[..., : plane.shape[-2] // 2 * 2, : plane.shape[-1] // 2 * 2]
    a, b = rows[..., ::2, ::2], rows[..., ::2, 1::2]
    c, d = rows[..., 1::2, ::2], rows[..., 1::2, 1::2]
    detail = (a - b - c + d) / 2
    spread = float(np.median(np.abs(detail))) / _MAD
    # images that are mostly black have a median of 0, and noise elsewhere
    return spread if spread > 0 else float(detail.std())


def _pair(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if image.shape != truth.shape:
        raise InputMismatch(
            f"The image has shape {image.shape}, its truth {truth.shape}; they must be equal."
        )
    return np.asarray(image, np.float64), np.asarray(truth, np.float64)


def _range(truth: np.ndarray) -> float:
    return float(truth.max() - truth.min()) or 1.0
