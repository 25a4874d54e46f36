"""Results on a finer grid than their input: where it lies, and how the engine's tiles carry its pixels.

Tiles are blended on the grid of the input, with the pixels of the finer grid as channels; so the engine
needs to know nothing of them, and memory is bounded as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepbio.engine.device import Device
from deepbio.engine.runtimes import Runtime
from deepbio.errors import InputMismatch
from deepbio.image import Grid

__all__ = ["Folded", "finer_grid", "fold_pixels", "unfold_pixels"]


def finer_grid(grid: Grid, factor: Sequence[int]) -> Grid:
    """The grid with `factor` pixels for each one, along each axis, that covers the same place.

    The pixels of the finer grid share out each old one, so the centre of the first lies by half an old
    pixel less half a new one before the old first centre (the half-pixel rule), along the axes of the
    image, wherever they point.

    Examples
    --------
    >>> finer = finer_grid(Grid((5, 7), spacing=(1.0, 0.5), unit="micrometer"), (1, 2))
    >>> finer.shape, finer.spacing, finer.origin
    ((5, 14), (1.0, 0.25), (-0.125, 0.0))
    """
    shape = tuple(n * f for n, f in zip(grid.shape, factor, strict=True))
    spacing = tuple(s / f for s, f in zip(grid.spacing, factor, strict=True))
    origin = grid.to_world([0.5 / f - 0.5 for f in factor])
    return grid.replace(shape=shape, spacing=spacing, origin=tuple(map(float, origin)))


class Folded:
    """A runtime whose finer pixels come back as channels: (N, K * prod(factor), *tile).

    Parameters
    ----------
    runtime : Runtime
        Gives ``factor`` pixels for each of the tile.
    factor : sequence of int
        Per axis.
    """

    def __init__(self, runtime: Runtime, factor: Sequence[int]) -> None:
        self._runtime, self._factor = runtime, tuple(factor)
        self.name, self.precision, self.why = runtime.name, runtime.precision, runtime.why
        self.device: Device = runtime.device

    def __call__(self, batch: np.ndarray) -> Any:
        """See :class:`~deepbio.engine.runtimes.Runtime`."""
        found = self._runtime(batch)
        wanted = tuple(n * f for n, f in zip(batch.shape[2:], self._factor, strict=True))
        if tuple(found.shape[2:]) != wanted:
            raise InputMismatch(
                f"The network answers tiles of {batch.shape[2:]} pixels with {tuple(found.shape[2:])}; the card's "
                f"factor is {self._factor}, so {wanted} were expected."
            )
        return fold_pixels(found, self._factor)


def fold_pixels(fine: Any, factor: Sequence[int]) -> Any:
    """Turn blocks of pixels into channels; the inverse of a pixel shuffle.

    Parameters
    ----------
    fine : ndarray or Tensor, shape (N, K, *(factor * size))

    Returns
    -------
    ndarray or Tensor, shape (N, K * prod(factor), *size)
        Of one block, the last axis changes fastest.

    Examples
    --------
    >>> fold_pixels(np.arange(8).reshape(1, 1, 2, 4), (2, 2))[0, :, 0, 1].tolist()
    [2, 3, 6, 7]
    """
    dims = len(factor)
    size = [n // f for n, f in zip(fine.shape[2:], factor, strict=True)]
    split = [part for pair in zip(size, factor, strict=True) for part in pair]
    blocks = fine.reshape(fine.shape[0], fine.shape[1], *split)
    order = (0, 1, *(3 + 2 * k for k in range(dims)), *(2 + 2 * k for k in range(dims)))
    blocks = blocks.transpose(order) if isinstance(blocks, np.ndarray) else blocks.permute(order)
    return blocks.reshape(fine.shape[0], -1, *size)


def unfold_pixels(values: np.ndarray, factor: Sequence[int]) -> np.ndarray:
    """Turn channels back into pixels; the inverse of :func:`fold_pixels`, without a batch.

    Parameters
    ----------
    values : ndarray, shape (K * prod(factor), *size)

    Returns
    -------
    ndarray, shape (K, *(factor * size))

    Examples
    --------
    >>> unfold_pixels(np.arange(4).reshape(4, 1, 1), (2, 2)).tolist()
    [[[0, 1], [2, 3]]]
    """
    dims, size = len(factor), values.shape[1:]
    blocks = values.reshape(-1, *factor, *size)
    order = [0] + [axis for k in range(dims) for axis in (1 + dims + k, 1 + k)]
    fine = tuple(n * f for n, f in zip(size, factor, strict=True))
    return np.ascontiguousarray(blocks.transpose(order).reshape(-1, *fine))
