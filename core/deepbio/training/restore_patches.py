"""Patches of pairs: with drawn noise, hidden pixels and flips, a function of seed and step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from deepbio.io import read
from deepbio.training.ahead import prepared_ahead
from deepbio.training.restore_coarse import seen_coarser
from deepbio.training.restore_noise import hide_pixels, noisy_and_clean
from deepbio.training.restore_pairs import Pair, Pairs
from deepbio.training.restore_plan import Plan

__all__ = ["Batch", "PatchSampler", "with_noise"]


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes
    ----------
    images : ndarray of float32, shape (N, C, *patch)
    targets : ndarray of float32, shape (N, C, *(factor * patch))
    mask : ndarray of bool, shape of the targets, or None
        Where the loss counts; everywhere where None.
    """

    images: np.ndarray
    targets: np.ndarray
    mask: np.ndarray | None = None


class PatchSampler:
    """Draws batches of patches.

    Parameters
    ----------
    pairs : Pairs
        To draw from.
    plan : Plan
        How to draw.
    """

    def __init__(self, pairs: Pairs, plan: Plan) -> None:
        self._pairs, self._plan = pairs, plan
        size = np.array([np.prod(read(case.path, lazy=True).shape) for case in pairs.cases], float)
        self._chance = size / size.sum()  # each pixel of the data set has the same

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps `first` to `last` - 1, prepared ahead in a thread."""
        return prepared_ahead(self.batch, first, last)

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        plan = self._plan
        drawn = [self._patch(np.random.default_rng((plan.seed, step, i))) for i in range(plan.batch)]
        images, targets, masks = zip(*drawn, strict=True)
        if all(mask is None for mask in masks):
            return Batch(np.stack(images), np.stack(targets))
        whole = (
            np.ones(target.shape, bool) if mask is None else mask
            for target, mask in zip(targets, masks, strict=True)
        )
        return Batch(np.stack(images), np.stack(targets), np.stack(list(whole)))

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Any]:
        plan = self._plan
        pairs = self._pairs[int(rng.choice(len(self._pairs), p=self._chance))]
        pair = pairs[int(rng.integers(len(pairs)))]
        if plan.method == "paired" and (not pair.paired or rng.uniform() < plan.synthetic):
            clean = self._cut(pair, rng)[1]
            if rng.uniform() < 0.5:
                clean = _zoomed(clean, float(np.exp(rng.uniform(np.log(0.6), np.log(1.6)))))
            image, target = with_noise(pair, clean, plan, rng)
            counted = None
        elif plan.method == "superresolution" and not pair.paired:
            image, target = seen_coarser(pair, self._place(pair, rng), plan.patch, plan, rng)
            counted = None
        else:
            image, target, counted = self._cut(pair, rng)
        gain, offset = np.exp(rng.normal(0, plan.contrast)), rng.normal(0, plan.contrast)
        image, target = (
            image * np.float32(gain) + np.float32(offset),
            target * np.float32(gain) + np.float32(offset),
        )
        image, target, counted = _turned((image, target, counted), plan.mirror, rng)
        if plan.method != "noise2void":
            return image, target, counted
        hidden, mask = hide_pixels(image, plan.hidden, rng)
        return hidden, image, mask

    def _place(self, pair: Pair, rng: np.random.Generator) -> list[int]:
        """Where a patch begins."""
        sizes = zip(pair.image.shape[1:], self._plan.patch, strict=True)
        return [int(rng.integers(n - p + 1)) for n, p in sizes]

    def _cut(self, pair: Pair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """A patch at a random place, its target, and where that counts."""
        plan, start = self._plan, self._place(pair, rng)
        inner = tuple(slice(a, a + p) for a, p in zip(start, plan.patch, strict=True))
        image = pair.image[(slice(None), *inner)]
        if pair.target is pair.image:
            return image, image, None
        f = plan.factor
        outer = (
            slice(None),
            *(slice(a * f, (a + p) * f) for a, p in zip(start, plan.patch, strict=True)),
        )
        return image, pair.target[outer], None if pair.counted is None else pair.counted[outer]


def with_noise(
    pair: Pair, clean: np.ndarray, plan: Plan, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A clean image, or a patch of it, with drawn noise and without.

    Both are normalised by what the whole image would measure with such noise, as an image is.

    Parameters
    ----------
    pair : Pair
        The whole image, for its brightness.
    clean : ndarray, shape (C, [z,] y, x)
        Its target, or a patch of that.
    plan : Plan
        How much noise.
    rng : Generator
        Draws how much, and the noise.

    Returns
    -------
    noisy, clean : ndarray, shape (C, [z,] y, x)
    """
    low, high = plan.noise
    part = low + (high - low) * float(np.sqrt(rng.uniform()))
    return noisy_and_clean(pair.brightness, clean, clean, part, plan, rng)


def _zoomed(clean: np.ndarray, zoom: float) -> np.ndarray:
    """The middle of a patch at another size, mirrored where it ends; of the same shape."""
    size = np.array(clean.shape[1:])
    offset = (size - 1) / 2 * (1 - 1 / zoom)
    matrix = np.full(len(size), 1 / zoom)
    return np.stack([ndimage.affine_transform(c, matrix, offset, order=1, mode="mirror") for c in clean])


def _turned(
    arrays: Sequence[np.ndarray | None], mirror: Sequence[int], rng: np.random.Generator
) -> list[Any]:
    """Flips along the axes allowed, and quarter turns in the plane where both of its axes are: all alike."""
    flips = tuple(axis + 1 for axis in mirror if rng.uniform() < 0.5)
    given = next(array for array in arrays if array is not None)
    last = given.ndim - 2
    square = given.shape[-1] == given.shape[-2]
    turn = square and {last, last - 1} <= set(mirror) and rng.uniform() < 0.5
    result: list[Any] = []
    for array in arrays:
        if array is not None:
            array = np.flip(array, flips)
            array = np.ascontiguousarray(np.swapaxes(array, -1, -2) if turn else array)
        result.append(array)
    return result
