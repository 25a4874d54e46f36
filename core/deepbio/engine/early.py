"""An image that is normalised before it is interpolated, as nnU-Net does.

Networks of ours learn from pixels that are interpolated first and normalised then, tile by tile. nnU-Net's
learn from the other order, with statistics of the image's own pixels; at the edge of what was set to 0 that is
not the same. Some of MONAI's normalise the pixels of each channel that are not 0 after the interpolation, before all
other steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deepbio.engine.geometry import Working
from deepbio.engine.grid_spec import GridSpec
from deepbio.engine.operators import reads_image
from deepbio.engine.placement import Placement
from deepbio.engine.resample import nearest
from deepbio.engine.statistics import Transform, blocks
from deepbio.engine.steps import Normaliser, prepare
from deepbio.image import ArrayLike, Grid
from deepbio.library.card import SPATIAL, Step

__all__ = ["EachInside", "EarlyNormalised", "Limits", "early_limits", "early_statistics", "early_working"]

Limits = tuple[np.ndarray, np.ndarray]


class EarlyNormalised:
    """An array-like of shape (C, [z,] y, x) over another: normalises what is sliced.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        Raw pixels on the image's own grid.
    normalise : callable
        What is done to blocks of them, as a `Normaliser`.

    Examples
    --------
    >>> raw = np.array([[[0.0, 2.0], [4.0, 6.0]]])
    >>> steps = [Step("zero_mean_unit_variance", {"axes": ["y", "x"], "eps": 1e-8})]
    >>> view = EarlyNormalised(raw, prepare(raw, ("channel", "y", "x"), steps, inside=True))
    >>> print(view[0:1, 0:2, 1:2].round(3))
    [[[-1.225]
      [ 1.225]]]
    """

    def __init__(self, array: ArrayLike, normalise: Transform) -> None:
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


def early_working(
    array: ArrayLike, placement: Placement, normalise: Transform, limits: Limits | None = None
) -> Working:
    """The image on the working grid, normalised on its own pixels.

    Parameters
    ----------
    array : array-like, shape (C, [z,] y, x)
        Raw pixels on the image's own grid.
    placement : Placement
        Where the working grid lies.
    normalise : callable
        From :func:`early_statistics`.
    limits : tuple of ndarray, optional
        From :func:`early_limits` of the stack that a slice is of; by default those of the image.

    Returns
    -------
    Working
        float32; each channel within the values that it has in the box, which splines could leave.
    """
    if placement.exact:
        return Working(EarlyNormalised(array, normalise), placement)
    found = limits or early_limits(array, placement, normalise)
    return Working(EarlyNormalised(array, normalise), placement, limits=found)


def _names(array: ArrayLike) -> tuple[str, ...]:
    return ("channel", *SPATIAL[len(SPATIAL) + 1 - len(array.shape) :])


def _boxed(array: ArrayLike, placement: Placement) -> Working:
    """The pixels of the box in canonical axes, as they are."""
    return Working(array, replace(placement, grid=Grid(placement.box_shape)))


def early_limits(array: ArrayLike, placement: Placement, normalise: Transform) -> Limits:
    """Smallest and largest value in the box of each channel, or of the slice that a thick one is taken from.

    Parameters
    ----------
    array, placement, normalise : array-like, Placement, callable
        As for :func:`early_working`.

    Returns
    -------
    low, high : ndarray of float32
        Their axes are those of the working image; those along which there is one limit have size 1.
    """
    boxed = _boxed(EarlyNormalised(array, normalise), placement)
    thick = placement.thick
    parts: list[ArrayLike] = [boxed]
    if thick is not None:
        key = [slice(None)] * len(boxed.shape)
        parts = [boxed[(*key[: thick + 1], slice(i, i + 1))] for i in range(boxed.shape[thick + 1])]
    limits = [_limits_of(part) for part in parts]
    low, high = (np.stack(side, axis=1) for side in zip(*limits, strict=True))  # (C, slices)
    shape = [low.shape[0]] + [1] * (len(boxed.shape) - 1)
    if thick is not None:
        index = nearest(placement.box_shape[thick], placement.grid.shape[thick])
        low, high = low[:, index], high[:, index]
        shape[thick + 1] = len(index)
    return low.reshape(shape), high.reshape(shape)


def _limits_of(array: ArrayLike) -> Limits:
    low = np.full(array.shape[0], np.inf, np.float32)
    high = -low
    for block in blocks(array, _names(array)):
        rows = block.reshape(block.shape[0], -1)
        np.minimum(low, rows.min(axis=1), out=low)
        np.maximum(high, rows.max(axis=1), out=high)
    return low, high
