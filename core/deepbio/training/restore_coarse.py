"""What a coarser camera behind wider optics would have seen of a sharp image: drawn blur, larger pixels, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from deepbio.cases.restore import coarser
from deepbio.training.restore_noise import noisy_and_clean
from deepbio.training.restore_pairs import Pair
from deepbio.training.restore_plan import Plan

__all__ = ["seen_coarser"]

_REACH = 3  # standard deviations from where a blur takes light


def seen_coarser(
    pair: Pair, start: Sequence[int], size: Sequence[int], plan: Plan, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A part of an image as a coarser camera sees it, and the sharp part.

    Light is spread by a Gaussian of drawn width (at most ``plan.blur``, in pixels of the sharp image), collected by
    pixels that are larger by ``plan.factor``, and in ``plan.synthetic`` of the draws given noise of photons and of
    the camera.

    Parameters
    ----------
    pair : Pair
        A coarse image that was made from its target.
    start, size : sequence of int
        The part, in pixels of the coarse image.
    plan : Plan
        How much blur and noise.
    rng : Generator
        Draws how much, and the noise.

    Returns
    -------
    image : ndarray of float32, shape (C, *size)
    target : ndarray of float32, shape (C, *(factor * size))
        Both normalised by what the whole image would measure with such noise.
    """
    factor = plan.factor
    width = plan.blur * rng.uniform()
    margin = factor * int(np.ceil(_REACH * width / factor))
    whole = pair.target.shape[1:]
    low = [max(0, a * factor - margin) for a in start]
    high = [min(n, (a + s) * factor + margin) for n, a, s in zip(whole, start, size, strict=True)]
    wide = pair.target[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
    inner = tuple(
        slice(a * factor - b, (a + s) * factor - b) for a, s, b in zip(start, size, low, strict=True)
    )
    key = (slice(None), *inner)
    blurred = ndimage.gaussian_filter(wide, [0.0] + [width] * len(size), mode="mirror") if width else wide
    coarse, sharp = coarser(blurred[key], (factor,) * len(size))[0], wide[key]
    if rng.uniform() >= plan.synthetic:
        return coarse, sharp
    part = float(rng.uniform(*plan.noise))
    return noisy_and_clean(pair.brightness, coarse, sharp, part, plan, rng)
