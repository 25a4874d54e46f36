"""What a generator is told of a mask: channels made from labels, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["CONDITIONS", "Appearance", "make_conditions", "measure_appearance", "object_levels"]

CONDITIONS = ("inside", "edge", "distance", "level", "contrast", "noise")
"""Channels of a mask-conditional generator's input."""

_FAINT = 1 / 255  # contrast below which an image shows nothing
_LEVEL_LIMIT = 3.0


@dataclass(frozen=True)
class Appearance:
    """How bright an image is, as parts of the largest pixel value.

    Attributes
    ----------
    background, foreground : float
        Median of the background, and mean of the objects.
    spread : float
        Standard deviation of the objects' mean brightness, relative to the contrast.
    """

    background: float
    foreground: float
    spread: float

    @property
    def contrast(self) -> float:
        """Foreground above background."""
        return self.foreground - self.background


def measure_appearance(pixels: np.ndarray, labels: np.ndarray) -> Appearance | None:
    """Measure an image of 0 to 1 with its labels; None where it shows no contrast.

    Examples
    --------
    >>> labels = np.array([[0, 0, 1, 2]])
    >>> found = measure_appearance(np.array([[0.1, 0.1, 0.4, 0.6]]), labels)
    >>> round(found.background, 3), round(found.foreground, 3), round(found.spread, 3)
    (0.1, 0.5, 0.25)
    """
    inside = labels > 0
    if not inside.any() or inside.all():
        return None
    background = float(np.median(pixels[~inside]))
    foreground = float(pixels[inside].mean())
    if foreground - background < _FAINT:
        return None
    levels = object_levels((pixels - background) / (foreground - background), labels)
    return Appearance(background, foreground, float(np.std(levels[1:])))


def object_levels(relative: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean brightness of each object less 1, in an image with background 0 and objects of mean 1.

    Returns
    -------
    ndarray of float32, shape (largest label + 1,)
        By label; 0 for background and labels that do not occur.
    """
    flat = labels.ravel()
    sums = np.bincount(flat, relative.ravel().astype(np.float64))
    sizes = np.bincount(flat)
    levels = np.where(sizes > 0, sums / np.maximum(sizes, 1) - 1, 0)
    levels[0] = 0
    return np.clip(levels, -_LEVEL_LIMIT, _LEVEL_LIMIT).astype(np.float32)


def make_conditions(
    labels: np.ndarray, levels: Sequence[float] | np.ndarray, contrast: float, random: np.random.Generator
) -> np.ndarray:
    """The input of a mask-conditional generator.

    Parameters
    ----------
    labels : ndarray of int, shape (y, x)
        Objects, 0 = background.
    levels : sequence of float
        Brightness of each label relative to the mean, see `object_levels`.
    contrast : float
        Of the image to be made, 0 to 1.
    random : numpy.random.Generator
        Of the channel ``noise``.

    Returns
    -------
    ndarray of float32, shape (6, y, x)
        The channels `CONDITIONS`: whether a pixel is in an object; on the edge of one (towards
        background or another object); how deep in it, 1 at its deepest; the object's brightness; the
        contrast (as a logarithm); noise.

    Examples
    --------
    >>> labels = np.zeros((5, 7), int); labels[1:4, 1:6] = 2
    >>> made = make_conditions(labels, [0, 0, 0.5], 1.0, np.random.default_rng(0))
    >>> made[:4, 2].round(2).tolist()[2]
    [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """
    from scipy import ndimage
    from skimage.segmentation import find_boundaries

    inside = labels > 0
    edge = find_boundaries(labels, mode="inner") & inside  # type: ignore[no-untyped-call]
    depth = ndimage.distance_transform_edt(inside & ~edge).astype(np.float32)
    deepest = np.zeros(len(levels), np.float32)
    np.maximum.at(deepest, labels[inside], depth[inside])
    made = np.zeros((len(CONDITIONS), *labels.shape), np.float32)
    made[0], made[1] = inside, edge
    made[2] = depth / np.maximum(deepest[labels], 1)
    made[3] = np.asarray(levels, np.float32)[labels]
    made[4] = 1 + np.log10(max(contrast, _FAINT)) / 2
    made[5] = random.standard_normal(labels.shape, np.float32)
    return made
