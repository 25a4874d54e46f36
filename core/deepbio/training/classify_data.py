"""Batches for classification: images in memory, drawn and varied as a function of seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepbio.cases.classify import ClassCase, load_placed
from deepbio.engine.geometry import GridSpec
from deepbio.engine.steps import apply_steps
from deepbio.errors import InputMismatch
from deepbio.events import Listener, Stage
from deepbio.io import atomic
from deepbio.library.card import Step
from deepbio.tasks.fitted import fit_size, middle
from deepbio.tasks.placed import place_frame

__all__ = ["COARSE", "Batch", "Pictures", "Variation", "batches", "gather", "vary"]

COARSE = 2 / 3
"""Size of the images at which a network learns first, which takes less than half of the time."""


@dataclass(frozen=True)
class Variation:
    """How strongly training images vary.

    Attributes
    ----------
    flip : tuple of int
        Spatial axes along which images may be flipped.
    rotation : float
        Largest angle in degrees, in the plane of y and x.
    zoom : float
        Largest enlargement, and its inverse the smallest.
    shift : float
        Largest shift as a part of the image.
    contrast, brightness : float
        Spread of a factor, and of a sum, in standard deviations of the data set.
    colour : float
        The same for each channel by itself.
    noise : float
        Largest standard deviation of noise (a third of the images).
    blur : float
        Part of the images that loses half of its resolution.
    erase : float
        Part of the images in which a box of a quarter of the edge is blotted out.
    """

    flip: tuple[int, ...] = ()
    rotation: float = 15.0
    zoom: float = 1.25
    shift: float = 0.1
    contrast: float = 0.2
    brightness: float = 0.2
    colour: float = 0.0
    noise: float = 0.15
    blur: float = 0.1
    erase: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Images and classes.

    Attributes
    ----------
    images : Tensor of float32, shape (N, C, [z,] y, x)
        Normalised.
    classes : Tensor of int64, shape (N,)
        From 0.
    """

    images: Tensor
    classes: Tensor


class Pictures:
    """Images of one size with their classes, in memory or in a file.

    Parameters
    ----------
    pixels : ndarray, shape (N, C, [z,] y, x)
        Raw uint8 pixels, or float32 that are normalised already.
    classes : ndarray of int64, shape (N,)
        From 0.
    mean, std : sequence of float
        Of each channel, for raw pixels; empty for normalised ones.
    """

    def __init__(
        self, pixels: np.ndarray, classes: np.ndarray, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.pixels, self.classes = pixels, classes
        column = (-1,) + (1,) * (pixels.ndim - 2)
        self._mean = torch.tensor(mean or [0.0], dtype=torch.float32).reshape(column)
        self._std = torch.tensor(std or [1.0], dtype=torch.float32).reshape(column)

    def __len__(self) -> int:
        return len(self.classes)

    def batch(self, chosen: np.ndarray) -> Batch:
        """Some of them, normalised."""
        images = torch.from_numpy(np.ascontiguousarray(self.pixels[chosen])).float()
        return Batch((images - self._mean) / self._std, torch.from_numpy(self.classes[chosen]))

    def in_order(self, size: int) -> Iterator[Batch]:
        """All of them, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))


def gather(
    cases: Sequence[ClassCase],
    classes: Sequence[str],
    size: tuple[int, ...],
    normalise: str,
    statistics: tuple[Sequence[float], Sequence[float]],
    folder: Path,
    listener: Listener,
    grid: GridSpec | None = None,
) -> Pictures:
    """Read the images of cases, in one size.

    The array is kept in `folder` under a name that follows from the files, their times and the size.

    Parameters
    ----------
    cases : sequence of ClassCase
        Which.
    classes : sequence of str
        Names of the classes; the position of a case's class is its number.
    size : tuple of int
        Without channels.
    normalise : {"dataset", "image"}
        Whether `statistics` or each image's own mean and deviation are used.
    statistics : pair of sequence of float
        Mean and standard deviation of each channel.
    folder : Path
        For the array.
    listener : Listener
        Hears the images.
    grid : GridSpec, optional
        Where it names a spacing, images are brought to that and cut to the size in their middle; else they
        are brought to the size.

    Raises
    ------
    InputMismatch
        If a case has other channels or axes than the data set, or a class that is not listed.
    """
    grid = grid or GridSpec()
    number = {name: i for i, name in enumerate(classes)}
    if strange := [case for case in cases if case.class_name not in number]:
        raise InputMismatch(
            f"{str(strange[0].image)!r} is of the class {strange[0].class_name!r}; the plan has "
            f"{', '.join(classes)}.",
            "Make a new plan.",
        )
    channels = len(statistics[0])
    path = folder / f"{_fingerprint(cases, size, normalise, grid)}.npy"
    if not path.exists():
        stage = Stage(listener, "images", len(cases))
        _write_array(path, cases, (channels, *size), normalise, grid, stage)
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    if pixels.nbytes < _IN_MEMORY:
        pixels = np.array(pixels)
    told = np.array([number[case.class_name] for case in cases], np.int64)
    return Pictures(pixels, told, *(statistics if normalise == "dataset" else ((), ())))


_IN_MEMORY = 2**30  # bytes


def _write_array(
    path: Path,
    cases: Sequence[ClassCase],
    shape: tuple[int, ...],
    normalise: str,
    grid: GridSpec,
    stage: Stage,
) -> None:
    """Read all images into one file, without having them in memory together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if normalise == "dataset" else np.float32
    with atomic(path) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", kind, (len(cases), *shape))
        for i, case in enumerate(cases):
            array[i] = _fitted(case, shape[1:], shape[0], normalise, grid)
            stage.step()
        array.flush()
        del array


def _fitted(
    case: ClassCase, size: tuple[int, ...], channels: int, normalise: str, grid: GridSpec
) -> np.ndarray:
    pixels, own = load_placed(case)
    if pixels.shape[0] != channels or pixels.ndim != len(size) + 1:
        raise InputMismatch(
            f"{str(case.image)!r} has {pixels.shape[0]} channels and {pixels.ndim - 1} spatial axes; the plan "
            f"has {channels} and {len(size)}."
        )
    if grid.spacing:
        fitted = np.asarray(middle(place_frame(pixels, own, grid).view, size), np.float32)
    else:
        fitted = fit_size(pixels, size)
    if normalise == "dataset":
        return np.clip(np.round(fitted), 0, 255)
    return apply_steps(fitted, ("channel", *"zyx"[3 - len(size) :]), image_steps(len(size)))


def image_steps(dims: int) -> list[Step]:
    """Normalisation of each image by its own mean and deviation."""
    return [Step("zero_mean_unit_variance", {"axes": list("zyx"[3 - dims :]), "eps": 1e-6})]


def _fingerprint(cases: Sequence[ClassCase], size: tuple[int, ...], normalise: str, grid: GridSpec) -> str:
    told = hashlib.sha256(repr((size, normalise, grid)).encode())
    for case in cases:
        facts = case.image.stat()
        told.update(repr((case.key, facts.st_mtime_ns, facts.st_size)).encode())
    return told.hexdigest()[:16]


# --- what is drawn ------------------------------------------------------------------------------


def batches(
    pictures: Pictures,
    size: int,
    seed: int,
    variation: Variation,
    *,
    balanced: bool = False,
    coarse_until: int = 0,
) -> Callable[[int, int], Iterator[Batch]]:
    """Batches of training, each a function of the seed and its step.

    Parameters
    ----------
    pictures : Pictures
        To draw from.
    size : int
        Images of a batch.
    seed : int
        Of every draw.
    variation : Variation
        How strongly they vary.
    balanced : bool
        Draw the classes evenly, each image as often as others of its class; else go through all
        images in a new order each time.
    coarse_until : int
        Steps in which images are taken at `COARSE` of their size.

    Returns
    -------
    callable
        ``draw(first, last)`` for `deepbio.training.loop.Loop`.
    """
    share = 1 / np.bincount(pictures.classes)[pictures.classes].astype(float)
    share /= share.sum()
    per_pass = max(1, len(pictures) // size)

    def chosen(step: int) -> np.ndarray:
        if balanced:
            return np.random.default_rng((seed, 1, step)).choice(len(pictures), size, p=share)
        turn, at = divmod(step, per_pass)
        order = np.random.default_rng((seed, 0, turn)).permutation(len(pictures))
        return np.sort(order[at * size : (at + 1) * size])

    def draw(first: int, last: int) -> Iterator[Batch]:
        for step in range(first, last):
            generator = torch.Generator().manual_seed((seed << 32) + step)
            batch = pictures.batch(chosen(step))
            scale = COARSE if step < coarse_until else 1.0
            yield Batch(vary(batch.images, variation, generator, scale), batch.classes)

    return draw


def vary(images: Tensor, variation: Variation, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    """Turn, zoom, shift and flip images, then change their intensities.

    Parameters
    ----------
    images : Tensor of float32, shape (N, C, [z,] y, x)
        Normalised.
    variation : Variation
        How strongly.
    generator : torch.Generator
        Source of every draw.
    scale : float
        Of the result's height and width.

    Returns
    -------
    Tensor of the same shape, or of a scaled one
    """
    size = [*images.shape[:-2], *(round(n * scale) for n in images.shape[-2:])]
    grid = F.affine_grid(_matrices(images, variation, generator), size, align_corners=False)
    images = F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
    draw = _Draw(generator, images)
    images = images * draw.factor(variation.contrast) + draw.spread(variation.brightness)
    if variation.colour > 0:
        images = images * draw.factor(variation.colour, channels=True)
        images = images + draw.spread(variation.colour, channels=True)
    if variation.blur > 0:
        images = _blurred(images, draw.share(variation.blur))
    if variation.noise > 0:
        noise = torch.randn(images.shape, generator=generator)
        images = images + noise * draw.share(1 / 3) * draw.uniform(0, variation.noise)
    if variation.erase > 0:
        images = _erased(images, draw.share(variation.erase), draw)
    return images


class _Draw:
    """Draws of one number for each image, shaped to fit it."""

    def __init__(self, generator: torch.Generator, like: Tensor) -> None:
        self._generator, self._like = generator, like

    def uniform(self, low: float, high: float, *, channels: bool = False) -> Tensor:
        count, width, *rest = self._like.shape
        shape = (count, width if channels else 1, *(1 for _ in rest))
        return torch.rand(shape, generator=self._generator) * (high - low) + low

    def factor(self, spread: float, *, channels: bool = False) -> Tensor:
        return self.uniform(1 - spread, 1 + spread, channels=channels)

    def spread(self, most: float, *, channels: bool = False) -> Tensor:
        return self.uniform(-most, most, channels=channels)

    def share(self, part: float) -> Tensor:
        return (self.uniform(0, 1) < part).float()


def _matrices(images: Tensor, variation: Variation, generator: torch.Generator) -> Tensor:
    """From places in the result to places in the image, both from -1 to 1, x first."""
    count, dims = len(images), images.ndim - 2

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand((count, *shape), generator=generator) * (high - low) + low

    turn = np.deg2rad(variation.rotation)
    angle = uniform(-turn, turn)
    reach = float(np.log(variation.zoom))
    # one zoom for the image, and a little more or less along each axis
    zoom = torch.exp(uniform(-reach, reach, 1) + uniform(-reach / 3, reach / 3, dims))
    matrix = torch.eye(dims).repeat(count, 1, 1)
    height, width = images.shape[-2:]
    # turned in pixels, where the image may not be square
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1] = -angle.sin() * height / width
    matrix[:, 1, 0] = angle.sin() * width / height
    flips = torch.ones(count, dims)
    for axis in variation.flip:
        flips[:, dims - 1 - axis] = (torch.rand(count, generator=generator) < 0.5).float() * 2 - 1
    matrix = matrix * (flips / zoom)[:, None, :]
    shift = uniform(-variation.shift, variation.shift, dims)
    return torch.cat((matrix, shift[:, :, None]), dim=2)


def _blurred(images: Tensor, chosen: Tensor) -> Tensor:
    at = chosen.flatten().bool()
    if not at.any():
        return images
    size = images.shape[2:]
    small: Any = F.interpolate(images[at], size=[max(1, n // 2) for n in size], mode="nearest-exact")
    mode = "bilinear" if len(size) == 2 else "trilinear"
    images = images.clone()
    images[at] = F.interpolate(small, size=size, mode=mode, align_corners=False)
    return images


def _erased(images: Tensor, chosen: Tensor, draw: _Draw) -> Tensor:
    keep = torch.ones_like(images[:, :1])
    for axis, n in enumerate(images.shape[2:], start=2):
        place = torch.arange(n).reshape([-1 if k == axis else 1 for k in range(images.ndim)])
        inside = (place - draw.uniform(0, n)).abs() < n / 4
        keep = keep * inside
    return images * (1 - keep * chosen)
