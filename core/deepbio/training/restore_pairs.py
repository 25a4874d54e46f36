"""Inputs and targets of restoration, normalised, in patches that are a function of seed and step."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from deepbio.cases.restore import RestoreCase, RestoreSample, coarser, load_restore_sample
from deepbio.engine.steps import apply_steps
from deepbio.errors import ImageError, InputMismatch
from deepbio.io import read
from deepbio.library.card import steps_of
from deepbio.training.restore_plan import Plan

__all__ = ["Pair", "Pairs", "PatchSampler", "add_noise", "hide_pixels"]

_IN_MEMORY = 2 * 2**30  # bytes of images that are kept
_AHEAD = 3  # batches prepared while the network computes
_REACH = 2  # pixels from where a hidden one is replaced
_ALIKE = 0.02  # correlation below which two images do not show the same


@dataclass(frozen=True)
class Pair:
    """One spatial image and its target, normalised.

    Attributes
    ----------
    image, target : ndarray of float32, shape (C, [z,] y, x)
        The target is `factor` times as large; it is the image itself where there is no other.
    paired : bool
        Whether the image is a real one of its own, and not made from the target.
    """

    image: np.ndarray
    target: np.ndarray
    paired: bool

    @cached_property
    def brightness(self) -> list[tuple[float, float, float]]:
        """Of each channel of the target: its darkest, and mean and spread above that."""
        told = []
        for channel in self.target:
            floor = float(np.percentile(channel, 0.5))
            above = np.maximum(channel - floor, 0)
            told.append((floor, float(above.mean()), max(float(above.std()), 1e-6)))
        return told


class Pairs:
    """The pairs of cases; files are read when they are first needed, and kept as memory allows."""

    def __init__(self, cases: Sequence[RestoreCase], plan: Plan) -> None:
        self.cases, self._plan = list(cases), plan
        self._kept: OrderedDict[int, list[Pair]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> list[Pair]:
        """The pairs of a case: one for each frame (and slice, of a 2D network)."""
        if index not in self._kept:
            pairs = prepare_pairs(load_restore_sample(self.cases[index], self._plan.factor), self._plan)
            self._kept[index] = pairs
            self._bytes += _size(pairs)
            while self._bytes > _IN_MEMORY and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(index)
        return self._kept[index]


def _size(pairs: Sequence[Pair]) -> int:
    return sum(pair.image.nbytes + (pair.target is not pair.image) * pair.target.nbytes for pair in pairs)


def prepare_pairs(sample: RestoreSample, plan: Plan) -> list[Pair]:
    """Normalised pairs of a sample, on each of its frames (and slices).

    The target is brought to the intensities of the input by least squares, so that the network gives
    the units of its input whatever the exposure of the target was.

    Raises
    ------
    ImageError
        If an image is constant, or input and target do not show the same.
    InputMismatch
        If the channels or axes are not those of the plan.
    """
    given = sample.given
    if given.shape[1] != plan.channels:
        raise InputMismatch(
            f"{str(sample.case.path)!r} has {given.shape[1]} channels; the others have {plan.channels}.",
            "Train on images of the same channels.",
        )
    if given.ndim - 2 < plan.dims:
        raise InputMismatch(f"{str(sample.case.path)!r} is 2D; the plan is for stacks.")
    parts = []
    for image, target in zip(_spatial(sample.image, plan), _spatial(sample.target, plan), strict=False):
        parts.append(_pair(image, target, sample.case, plan))
    return parts


def _spatial(array: np.ndarray | None, plan: Plan) -> Iterator[np.ndarray | None]:
    """Images (C, [z,] y, x) of as many axes as the network has."""
    if array is None:
        yield from itertools.repeat(None)
        return
    for frame in array:
        if frame.ndim - 1 > plan.dims:
            yield from np.moveaxis(frame, 1, 0)
        else:
            yield frame


def _pair(image: np.ndarray | None, target: np.ndarray | None, case: RestoreCase, plan: Plan) -> Pair:
    if plan.method != "paired" and not (plan.factor > 1 and image is not None and target is not None):
        # the methods that make their own input take whatever there is
        image, target = (target if image is None else image), None
        if plan.factor > 1:
            assert image is not None, "a case has at least one file"  # noqa: S101
            image, target = coarser(image, (plan.factor,) * plan.dims)
    elif image is None:
        image = target
    assert image is not None, "a case has at least one file"  # noqa: S101
    if image.min() == image.max():
        raise ImageError(
            f"{str(case.path)!r} is constant ({image.flat[0]:g}): there is nothing to learn from it.",
            "Leave it out.",
        )
    paired = target is not None and image is not target
    made = paired and (case.image is None or case.target is None)
    if target is not None and paired and not made:
        target = _on_scale(image, target, case, plan.factor)
    axes = ("channel", *"zyx"[3 - plan.dims :])
    steps = steps_of(plan.normalisation)
    normal = apply_steps(image, axes, steps)
    if target is None or not paired:
        return _padded(Pair(normal, normal, False), plan)
    return _padded(Pair(normal, _same_steps(image, normal, target), not made), plan)


def _same_steps(image: np.ndarray, normal: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What the steps do to the image, done to the target: they are linear for each channel."""
    result = np.empty_like(target, np.float32)
    for channel, (raw, done) in enumerate(zip(image, normal, strict=True)):
        low, high = np.unravel_index(raw.argmin(), raw.shape), np.unravel_index(raw.argmax(), raw.shape)
        scale = (float(done[high]) - float(done[low])) / max(float(raw[high]) - float(raw[low]), 1e-12)
        result[channel] = (target[channel] - float(raw[low])) * scale + float(done[low])
    return result


def _on_scale(image: np.ndarray, target: np.ndarray, case: RestoreCase, factor: int) -> np.ndarray:
    """The target in the intensities of its input."""
    same = coarser(target, (factor,) * (target.ndim - 1))[0] if factor > 1 else target
    result = np.empty_like(target)
    for channel, (one, truth) in enumerate(zip(image, same, strict=True)):
        x, y = truth - truth.mean(), one - one.mean()
        power = float(np.vdot(x, x))
        alike = float(np.vdot(x, y)) / max(np.sqrt(power * float(np.vdot(y, y))), 1e-12)
        if power == 0 or alike < _ALIKE:
            raise ImageError(
                f"{str(case.image)!r} and {str(case.target)!r} do not show the same: their correlation is "
                f"{alike:.3f}.",
                "Check that the files belong together and are registered, and that neither is constant.",
            )
        slope = float(np.vdot(x, y)) / power  # the noise is in the input: regress it on the target
        result[channel] = slope * (target[channel] - truth.mean()) + one.mean()
    return result


def _padded(pair: Pair, plan: Plan) -> Pair:
    """Images that are smaller than a patch, mirrored until they fill it."""
    short = [(0, max(0, p - n)) for n, p in zip(pair.image.shape[1:], plan.patch, strict=True)]
    if not any(after for _, after in short):
        return pair
    image = np.pad(pair.image, [(0, 0), *short], mode="symmetric")
    if pair.target is pair.image:
        return Pair(image, image, pair.paired)
    wide = [(0, after * plan.factor) for _, after in short]
    return Pair(image, np.pad(pair.target, [(0, 0), *wide], mode="symmetric"), pair.paired)


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes
    ----------
    images : ndarray of float32, shape (N, C, *patch)
    targets : ndarray of float32, shape (N, C, *(factor * patch))
    mask : ndarray of bool, shape (N, C, *patch), or None
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
        """Yield the batches of steps `first` to `last` - 1, prepared ahead in a thread."""
        with ThreadPoolExecutor(1, thread_name_prefix="patches") as pool:
            waiting: list[Future[Batch]] = []
            try:
                for step in range(first, last):
                    while len(waiting) < _AHEAD and step + len(waiting) < last:
                        waiting.append(pool.submit(self.batch, step + len(waiting)))
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        plan = self._plan
        drawn = [self._patch(np.random.default_rng((plan.seed, step, i))) for i in range(plan.batch)]
        images, targets, masks = zip(*drawn, strict=True)
        mask = np.stack(masks) if plan.method == "noise2void" else None
        return Batch(np.stack(images), np.stack(targets), mask)

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Any]:
        plan = self._plan
        pairs = self._pairs[int(rng.choice(len(self._pairs), p=self._chance))]
        pair = pairs[int(rng.integers(len(pairs)))]
        if plan.method == "paired" and (not pair.paired or rng.uniform() < plan.synthetic):
            image, target = self._with_noise(pair, rng)
        else:
            image, target = self._cut(pair, rng)
        gain, offset = np.exp(rng.normal(0, plan.contrast)), rng.normal(0, plan.contrast)
        image, target = (
            image * np.float32(gain) + np.float32(offset),
            target * np.float32(gain) + np.float32(offset),
        )
        image, target = _turned(image, target, plan.mirror, rng)
        if plan.method != "noise2void":
            return image, target, None
        hidden, mask = hide_pixels(image, plan.hidden, rng)
        return hidden, image, mask

    def _cut(self, pair: Pair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A patch at a random place."""
        plan = self._plan
        size = pair.image.shape[1:]
        start = [int(rng.integers(n - p + 1)) for n, p in zip(size, plan.patch, strict=True)]
        inner = tuple(slice(a, a + p) for a, p in zip(start, plan.patch, strict=True))
        image = pair.image[(slice(None), *inner)]
        if pair.target is pair.image:
            return image, image
        f = plan.factor
        outer = tuple(slice(a * f, (a + p) * f) for a, p in zip(start, plan.patch, strict=True))
        return image, pair.target[(slice(None), *outer)]

    def _with_noise(self, pair: Pair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A patch of the clean image with drawn noise, and without it.

        Both are normalised by what the whole image would measure with such noise, as an image is.
        """
        plan = self._plan
        clean = self._cut(pair, rng)[1]
        if rng.uniform() < 0.5:
            clean = _zoomed(clean, float(np.exp(rng.uniform(np.log(0.6), np.log(1.6)))))
        low, high = plan.noise
        part, photon_share = low + (high - low) * np.sqrt(rng.uniform()), rng.uniform()
        noisy, result = np.empty_like(clean), np.empty_like(clean)
        for channel, (floor, mean, spread) in enumerate(pair.brightness):
            light = np.maximum(clean[channel].astype(np.float64) - floor, 0)
            variance = spread**2 * part**2 / (1 - part**2)
            photons = mean / max(photon_share * variance, 1e-9)
            read_noise = float(np.sqrt((1 - photon_share) * variance))
            seen = add_noise(light, photons, read_noise, rng, tails=plan.tails * rng.uniform())
            seen += _stripes(light.shape, plan.stripes * float(np.sqrt(variance)) * rng.uniform(), rng)
            scale = float(np.hypot(spread, np.sqrt(variance)))
            noisy[channel], result[channel] = (seen - mean) / scale, (light - mean) / scale
        return noisy, result


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


def _stripes(shape: tuple[int, ...], spread: float, rng: np.random.Generator) -> np.ndarray:
    """Offsets of rows and columns, as the amplifiers of a camera leave them."""
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


def _zoomed(clean: np.ndarray, zoom: float) -> np.ndarray:
    """The middle of a patch at another size, mirrored where it ends; of the same shape."""
    size = np.array(clean.shape[1:])
    offset = (size - 1) / 2 * (1 - 1 / zoom)
    matrix = np.full(len(size), 1 / zoom)
    return np.stack([ndimage.affine_transform(c, matrix, offset, order=1, mode="mirror") for c in clean])


def _turned(
    image: np.ndarray, target: np.ndarray, mirror: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flips along the axes allowed, and quarter turns in the plane where both of its axes are."""
    flips = tuple(axis + 1 for axis in mirror if rng.uniform() < 0.5)
    image, target = np.flip(image, flips), np.flip(target, flips)
    last = image.ndim - 2
    square = image.shape[-1] == image.shape[-2]
    if square and {last, last - 1} <= set(mirror) and rng.uniform() < 0.5:
        image, target = np.swapaxes(image, -1, -2), np.swapaxes(target, -1, -2)
    return np.ascontiguousarray(image), np.ascontiguousarray(target)
