"""How far a network's answers lie apart when it is asked in several ways.

Test-time augmentation asks about changed images (mirrored, brighter, noisier; Wang et al., 2019,
doi:10.1016/j.neucom.2019.01.103); Monte Carlo dropout asks networks in which other parts are left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepbio.engine.device import Device
from deepbio.engine.runtimes import Runtime

__all__ = ["Spread", "Variant", "as_numpy", "entropy_of", "variants_for"]

_GAIN, _SHIFT, _NOISE = 1.1, 0.1, 0.05  # the last two in standard deviations of the tile


@dataclass(frozen=True)
class Variant:
    """One way to change a batch of normalised tiles.

    Attributes
    ----------
    flip : tuple of int
        Axes of the tile (of a movie time is the first) along which it is mirrored, counted from 0.
    gain, shift, noise : float
        Contrast, brightness and noise; `shift` and `noise` in standard deviations of the batch.
    """

    flip: tuple[int, ...] = ()
    gain: float = 1.0
    shift: float = 0.0
    noise: float = 0.0

    def change(self, batch: np.ndarray) -> np.ndarray:
        """The changed batch, a new array unless nothing changes."""
        if self == Variant():
            return batch
        found = np.flip(batch, tuple(axis + 2 for axis in self.flip)) if self.flip else batch
        if self.gain != 1.0 or self.shift or self.noise:
            axes = tuple(range(1, batch.ndim))
            mean = found.mean(axis=axes, keepdims=True)
            std = found.std(axis=axes, keepdims=True)
            found = (found - mean) * self.gain + mean + self.shift * std
            if self.noise:  # the same for the same tile
                drawn = np.random.default_rng(0).standard_normal(batch.shape, np.float32)
                found = found + self.noise * std * drawn
        return np.ascontiguousarray(found, np.float32)

    def back(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the changed batch, in its own place again."""
        if not self.flip or scores.ndim <= max(self.flip) + 2:
            return scores  # classes, of all or of each frame, have no place
        return np.flip(scores, tuple(axis + 2 for axis in self.flip))

    def of(self, runtime: Runtime) -> Varied:
        """A runtime that is asked about changed tiles."""
        return Varied(runtime, self)


class Varied:
    """A runtime that another one is asked by, about changed tiles.

    Parameters
    ----------
    runtime : Runtime
        That is asked.
    variant : Variant
        How tiles are changed.
    """

    def __init__(self, runtime: Runtime, variant: Variant) -> None:
        self._runtime, self._variant = runtime, variant
        self.name, self.precision, self.why = runtime.name, runtime.precision, runtime.why
        self.device: Device = runtime.device

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Scores of the tiles as they are."""
        scores = as_numpy(self._runtime(self._variant.change(batch)))
        return np.array(self._variant.back(scores), np.float32)

    def around(self, ask: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        """Another way to ask about one tile ``(C, *tile)``, asked about changed ones in the same manner."""

        def asked(tile: np.ndarray) -> np.ndarray:
            return self._variant.back(ask(self._variant.change(tile[np.newaxis])[0])[np.newaxis])[0]

        return asked


def variants_for(axes: Sequence[int]) -> tuple[Variant, ...]:
    """The image itself, its mirror images along these axes, and small changes of brightness and noise.

    Examples
    --------
    >>> [one.flip for one in variants_for([1])]
    [(), (1,), (), (), (), (), ()]
    """
    flips = [one for count in range(1, len(axes) + 1) for one in itertools.combinations(axes, count)]
    return (
        Variant(),
        *(Variant(flip=one) for one in flips),
        Variant(gain=_GAIN),
        Variant(gain=1 / _GAIN),
        Variant(shift=_SHIFT),
        Variant(shift=-_SHIFT),
        Variant(noise=_NOISE),
    )


class Spread:
    """A runtime that gives the entropy and the variance of several runtimes' probabilities.

    Parameters
    ----------
    runtimes : sequence of Runtime
        Give scores of the same tiles.
    probabilities : callable
        From scores ``(N, K, *tile)`` to probabilities of classes, which add up to one.
    """

    name, precision, why = "spread", "fp32", "several answers are compared"

    def __init__(
        self, runtimes: Sequence[Runtime], probabilities: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.device: Device = runtimes[0].device
        self._runtimes, self._probabilities = tuple(runtimes), probabilities

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Entropy of the mean from 0 to 1, and variance of the likeliest class: ``(N, 2, *tile)``."""
        mean, variance = _moments(self._probabilities(as_numpy(one(batch))) for one in self._runtimes)
        best = mean.argmax(axis=1)[:, np.newaxis]
        likeliest = np.take_along_axis(variance, best, axis=1)[:, 0]
        return np.stack((entropy_of(mean, 1), likeliest), axis=1).astype(np.float32)


def _moments(parts: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, one array at a time (Welford, 1962, doi:10.1080/00401706.1962.10490022)."""
    mean: Any = None
    squares: Any = None
    for count, part in enumerate(parts, 1):
        if mean is None:
            mean, squares = part.astype(np.float32), np.zeros(part.shape, np.float32)
            continue
        gap = part - mean
        mean += gap / count
        squares += gap * (part - mean)
    return mean, squares / count


def entropy_of(probabilities: np.ndarray, axis: int) -> np.ndarray:
    """Entropy over a range of classes, over its largest value: 0 is certain, 1 knows nothing.

    Examples
    --------
    >>> entropy_of(np.array([[0.5, 0.5], [1.0, 0.0]]), axis=1).tolist()
    [1.0, 0.0]
    """
    classes = probabilities.shape[axis]
    logs = np.log(np.maximum(probabilities, 1e-12))
    return np.abs((probabilities * logs).sum(axis=axis)) / math.log(max(classes, 2))


def as_numpy(scores: Any) -> np.ndarray:
    """Scores in main memory."""
    return scores if isinstance(scores, np.ndarray) else np.asarray(scores.float().cpu().numpy())
