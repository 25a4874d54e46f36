"""An image that is normalised before it is interpolated, as nnU-Net does.

Networks of ours learn from pixels that are interpolated first and normalised then, tile by tile. nnU-Net's
learn from the other order, with statistics of the image's own pixels; at the edge of what was set to 0 that is
not the same. Some of MONAI's normalise the pixels of each channel that are not 0 after the interpolation, before all
other steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepbio.engine.geometry import Working
from deepbio.engine.operators import reads_image
from deepbio.engine.placement import GridSpec, Placement, place
from deepbio.engine.statistics import blocks
from deepbio.engine.steps import Normaliser, prepare
from deepbio.image import ArrayLike
from deepbio.library.card import SPATIAL, Step

__all__ = ["EachInside", "EarlyNormalised", "early_statistics", "early_working"]


class EarlyNormalised:
    """An array-like of shape (C, [z,] y, x) over another: normalises what is sliced.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        Raw pixels on the image's own grid.
    normalise : Normaliser
        What is done to them.

    Examples
    --------
    >>> raw = np.array([[[0.0, 2.0], [4.0, 6.0]]])
    >>> steps = [Step("zero_mean_unit_variance", {"axes": ["y", "x"], "eps": 1e-8})]
    >>> view = EarlyNormalised(raw, prepare(raw, ("channel", "y", "x"), steps, inside=True))
    >>> print(view[0:1, 0:2, 1:2].round(3))
    [[[-1.225]
      [ 1.225]]]
    """

    def __init__(self, array: ArrayLike, normalise: Normaliser) -> None:
        self._array, self._normalise = array, normalise
        self.shape = tuple(array.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        # all channels: which pixels are outside is seen in all of them together
        ready: np.ndarray = self._normalise(np.asarray(self._array[(slice(None), *keys[1:])]))[keys[0]]
        return ready


class EachInside:
    """An array-like of shape (C, [z,] y, x) over another: each channel normalised by its pixels that are not 0.

    The other pixels stay 0.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        Raw pixels.
    steps : sequence of Step
        The card's; those up to the first that needs statistics are done here.

    Attributes
    ----------
    rest : tuple of Step
        Those that come after them.

    Examples
    --------
    >>> raw = np.array([[[0.0, 2.0], [4.0, 6.0]], [[5.0, 0.0], [0.0, 7.0]]])
    >>> view = EachInside(raw, [Step("zero_mean_unit_variance", {"axes": ["y", "x"], "eps": 1e-8})])
    >>> [[round(float(v), 3) for v in channel.ravel()] for channel in view[:, 0:2, 1:2]]
    [[-1.225, 1.225], [0.0, 1.0]]
    """

    def __init__(self, array: ArrayLike, steps: Sequence[Step]) -> None:
        count = next((k + 1 for k, step in enumerate(steps) if reads_image(step)), len(steps))
        self.rest = tuple(steps[count:])
        self.shape, self.dtype = tuple(array.shape), np.dtype(np.float32)
        self._array = array
        self._normalisers = [
            prepare(_Channel(array, k), _names(array), steps[:count], inside=True)
            for k in range(self.shape[0])
        ]

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        block = np.asarray(self._array[(slice(None), *keys[1:])])
        ready = [own(block[k : k + 1]) for k, own in enumerate(self._normalisers)]
        normalised: np.ndarray = np.concatenate(ready)[keys[0]]
        return normalised


class _Channel:
    """One channel of an array-like, as one."""

    def __init__(self, array: ArrayLike, channel: int) -> None:
        self._array, self._channel = array, channel
        self.shape, self.dtype = (1, *array.shape[1:]), np.dtype(array.dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        own = slice(self._channel, self._channel + 1)
        return np.asarray(self._array[(own, *keys[1:])])[keys[0]]


def early_statistics(
    array: ArrayLike, placement: Placement, spec: GridSpec, steps: Sequence[Step]
) -> Normaliser:
    """The steps of a card, ready for any block of an image, with the statistics of its box.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        Raw pixels on the image's own grid.
    placement : Placement
        With the box whose pixels count.
    spec : GridSpec
        With ``inside="nonzero"`` only those of them that are not 0 in all channels.
    steps : sequence of Step
        The card's pre-processing.
    """
    boxed = _boxed(array, placement)
    return prepare(boxed, _names(boxed), steps, inside=spec.inside == "nonzero")


def early_working(array: ArrayLike, placement: Placement, normalise: Normaliser) -> Working:
    """The image on the working grid, normalised on its own pixels.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        Raw pixels on the image's own grid.
    placement : Placement
        Where the working grid lies.
    normalise : Normaliser
        From :func:`early_statistics`.

    Returns
    -------
    Working
        float32; each channel within the values that it has in the box, which splines could leave.
    """
    ready = EarlyNormalised(array, normalise)
    return Working(ready, placement, limits=None if placement.exact else _limits(ready, placement))


def _names(array: ArrayLike) -> tuple[str, ...]:
    return ("channel", *SPATIAL[len(SPATIAL) + 1 - len(array.shape) :])


def _boxed(array: ArrayLike, placement: Placement) -> Working:
    """The pixels of the box, as they are."""
    spans = [(0, 0)] * len(placement.axes)
    for (start, stop), axis, flip in zip(placement.box, placement.axes, placement.flips, strict=True):
        n = placement.source.shape[axis]
        spans[axis] = (n - stop, n - start) if flip else (start, stop)
    return Working(array, place(placement.source, GridSpec(), tuple(spans)))


def _limits(ready: EarlyNormalised, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each channel in the box."""
    boxed = _boxed(ready, placement)
    low = np.full(boxed.shape[0], np.inf, np.float32)
    high = -low
    for block in blocks(boxed, _names(boxed)):
        rows = block.reshape(block.shape[0], -1)
        np.minimum(low, rows.min(axis=1), out=low)
        np.maximum(high, rows.max(axis=1), out=high)
    return low, high
