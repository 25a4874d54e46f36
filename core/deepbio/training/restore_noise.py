"""Noise as cameras add it, and pixels that are hidden from a network that learns from noise alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from deepbio.training.restore_plan import Plan

__all__ = ["add_noise", "hide_pixels", "noisy_and_clean", "stripes"]

_REACH = 2  # pixels from where a hidden one is replaced


def add_noise(
    light: np.ndarray, photons: float, read_noise: float, rng: np.random.Generator, *, tails: float = 0.0
) -> np.ndarray:
    """Photon noise (Poisson) and read noise (Gaussian, in each pixel), as a camera adds them.

    Parameters
    ----------
    light : ndarray
        Brightness, 0 and above.
    photons : float
        Photons for a brightness of 1.
    read_noise : float
        Standard deviation, in units of the brightness.
    rng : Generator
        Draws.
    tails : float
        How much the read noise of pixels differs, as that of CMOS cameras does: the spread of the
        logarithm of its deviation. The mean variance stays.

    Examples
    --------
    >>> noisy = add_noise(np.full((99, 99), 0.5), 100, 0.01, np.random.default_rng(0))
    >>> bool(abs(noisy.mean() - 0.5) < 0.01), bool(abs(noisy.std() - (0.5 / 100 + 0.01**2) ** 0.5) < 0.002)
    (True, True)
    """
    counts = rng.poisson(light * photons) / photons
    spread: float | np.ndarray = read_noise
    if tails > 0:
        spread = read_noise * np.exp(rng.normal(-(tails**2), tails, light.shape))
    noisy: np.ndarray = counts + spread * rng.normal(0, 1, light.shape)
    return noisy


def noisy_and_clean(
    brightness: Sequence[tuple[float, float, float]],
    clean: np.ndarray,
    truth: np.ndarray,
    part: float,
    plan: Plan,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """An image with drawn noise, and its truth, both in units of the noisy image's deviation.

    Parameters
    ----------
    brightness : sequence of (float, float, float)
        Of each channel of the whole image: its darkest, and mean and spread above that.
    clean : ndarray, shape (C, [z,] y, x)
        What is given noise; the whole image or a part of it.
    truth : ndarray, shape (C, [z,] y, x)
        The same place, perhaps on a finer grid.
    part : float
        Of the noise in the whole image's deviation, below 1.
    plan : Plan
        What kind of noise.
    rng : Generator
        Draws how much of it is that of photons, and the noise.

    Returns
    -------
    noisy, truth : ndarray
    """
    photon_share = rng.uniform()
    noisy, result = np.empty_like(clean), np.empty_like(truth)
    for channel, (floor, mean, spread) in enumerate(brightness):
        light = np.maximum(clean[channel].astype(np.float64) - floor, 0)
        variance = spread**2 * part**2 / (1 - part**2)
        photons = mean / max(photon_share * variance, 1e-9)
        read_noise = float(np.sqrt((1 - photon_share) * variance))
        seen = add_noise(light, photons, read_noise, rng, tails=plan.tails * rng.uniform())
        seen += stripes(light.shape, plan.stripes * float(np.sqrt(variance)) * rng.uniform(), rng)
        scale = float(np.hypot(spread, np.sqrt(variance)))
        noisy[channel] = (seen - mean) / scale
        result[channel] = (np.maximum(truth[channel].astype(np.float64) - floor, 0) - mean) / scale
    return noisy, result


def stripes(shape: tuple[int, ...], spread: float, rng: np.random.Generator) -> np.ndarray:
    """Offsets of rows and columns, as the amplifiers of a camera leave them.

    Parameters
    ----------
    shape : tuple of int
        ([z,] y, x).
    spread : float
        Standard deviation of the offsets.
    rng : Generator
        Draws.

    Returns
    -------
    ndarray, shape (y, x)

    Examples
    --------
    >>> found = stripes((3, 5, 7), 2.0, np.random.default_rng(0))
    >>> found.shape, bool(np.ptp(found[0] - found[1]) < 1e-12)
    ((5, 7), True)
    """
    rows, columns = shape[-2:]
    offsets: np.ndarray = rng.normal(0, spread, (rows, 1)) + rng.normal(0, spread, (1, columns))
    return offsets


def hide_pixels(image: np.ndarray, part: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Replace some pixels by neighbours: what the network cannot see it must guess from around.

    Krull et al., CVPR 2019 (doi:10.1109/CVPR.2019.00223).

    Parameters
    ----------
    image : ndarray, shape (C, *size)
    part : float
        Of the pixels, which are hidden.
    rng : Generator
        Draws.

    Returns
    -------
    hidden : ndarray
        The image with other values there, from at most 2 pixels away and never their own.
    mask : ndarray of bool
        Where.
    """
    size = image.shape[1:]
    count = max(1, round(part * np.prod(size)))
    mask = np.zeros(image.shape, bool)
    hidden = image.copy()
    reach = [min(_REACH, n - 1) for n in size]
    away = [o for o in itertools.product(*(range(-r, r + 1) for r in reach)) if any(o)]
    for channel in range(image.shape[0]):
        flat = rng.choice(int(np.prod(size)), count, replace=False)
        places = np.stack(np.unravel_index(flat, size))
        others = places + np.array(away)[rng.integers(len(away), size=count)].T
        for axis, n in enumerate(size):  # mirrored at the border, so that none stays where it is
            there, here = others[axis], places[axis]
            others[axis] = np.where((there < 0) | (there >= n), 2 * here - there, there)
        hidden[(channel, *places)] = image[(channel, *others)]
        mask[(channel, *places)] = True
    return hidden, mask
