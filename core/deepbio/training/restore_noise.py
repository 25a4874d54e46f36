"""Noise as cameras add it, and pixels that are hidden from a network that learns from noise alone."""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["add_noise", "hide_pixels", "stripes"]

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
