"""Which tiles an image is cut into, and how much each counts where they overlap.

The plan is made from sizes alone, so the same image always gets the same tiles. Blending weights are
a Gaussian window per axis (standard deviation an eighth of the tile, as in nnU-Net and MONAI),
divided by their sum along that axis. Because the tiles form a grid, the product over the axes is
one at every pixel: weighted tiles are simply added, and no map of weights is kept.

MONAI raises the products that are below a thousandth of the largest to that. Where an image has few tiles, as at its
edges, that changes scores; cards of its networks can ask for it. Then each tile has a map of weights.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deepbio.errors import OptionError

__all__ = [
    "BLENDS",
    "PADDINGS",
    "SPREADS",
    "TilePlan",
    "blending_weights",
    "floored_weights",
    "own_spans",
    "plan_tiles",
]

PADDINGS = ("reflect", "zero", "edge")
BLENDS = ("gaussian", "constant", "floored", "nnunet", "cellpose", "nearest")
SPREADS = ("even", "stride", "cellpose", "aligned")
_FLOOR = 1e-3
_MARGIN = 8  # pixels of padding that Cellpose has on each side, at the least
_TAPER, _SOFT, _TAPERED = (
    20,
    7.5,
    224,
)  # of its weights: where they are half, how steeply they fall, least window


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles of one image are.

    Attributes
    ----------
    shape : tuple of int
        Size of the image along its spatial axes.
    tile : tuple of int
        Size of every tile.
    starts : tuple of tuple of int
        First pixel of the tiles along each axis, in order. The first is negative where the image is padded on
        both sides: where it is smaller than the tile and has one, and always with Cellpose's spread.
    batch : int
        Most tiles in a batch.
    overlap : float
        Least overlap of neighbours, as a fraction of the tile.
    pad : {"reflect", "zero", "edge"}
        What an image is padded with where it is smaller than the tile: itself, mirrored, zeros (which
        come after the normalisation), or its last pixels.
    blend : {"gaussian", "constant", "floored", "nnunet", "cellpose", "nearest"}
        How tiles are weighted where they overlap: less towards their edges, all alike, less towards their
        edges but nowhere less than a thousandth, as MONAI does (:func:`floored_weights`), as the first but
        highest at pixel ``size // 2`` and not in the middle, as nnU-Net does, nearly alike but for 20 pixels at
        the edges, as Cellpose does, or not at all: each pixel is that of the tile whose middle is nearest.
    cell : tuple of int
        Pixels, along each axis, that one answer of the network stands for; empty for one. Tiles are multiples of it.

    Examples
    --------
    >>> plan = plan_tiles((1000, 300), tile=(512, 512), overlap=0.125, multiple_of=(16, 16))
    >>> plan.tile, plan.starts, plan.count
    ((368, 304), ((0, 316, 632), (-2,)), 3)
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    batch: int = 1
    overlap: float = 0.0
    pad: str = "reflect"
    blend: str = "gaussian"
    cell: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Number of tiles."""
        return math.prod(len(starts) for starts in self.starts)

    @property
    def padded(self) -> tuple[int, ...]:
        """Size of the image with the padding that the tiles need."""
        axes = zip(self.shape, self.tile, self.starts, strict=True)
        return tuple(max(n, starts[-1] + size) - min(starts[0], 0) for n, size, starts in axes)

    def batches(self, row: int) -> Iterator[list[tuple[int, ...]]]:
        """Indices (one per axis) of the tiles of a row along the first axis, in batches.

        The batches of a row are of nearly equal size, so the last is not a remainder of one.
        """
        indices = list(itertools.product((row,), *(range(len(starts)) for starts in self.starts[1:])))
        parts = math.ceil(len(indices) / self.batch)
        bounds = [len(indices) * i // parts for i in range(parts + 1)]
        for start, stop in itertools.pairwise(bounds):
            yield indices[start:stop]


def plan_tiles(
    spatial_shape: Sequence[int],
    *,
    tile: Sequence[int],
    overlap: float | Sequence[float] = 0.125,
    batch: int = 1,
    multiple_of: Sequence[int] | None = None,
    minimum: Sequence[int] | None = None,
    fixed: Sequence[int | None] | None = None,
    spread: str = "even",
) -> TilePlan:
    """Cut an image into tiles that cover it with the least work.

    Along each axis the number of tiles follows from the tile and the overlap that are asked
    for; the tiles are then spread evenly and made as small as that number allows. So the last tile
    never nearly repeats the one before it: 520 pixels are two tiles of 288, not two of 512.

    Parameters
    ----------
    spatial_shape : sequence of int
        Size of the image, ``([z,] y, x)``, each at least 1.
    tile : sequence of int
        Largest tile; rounded down to a size that the network takes.
    overlap : float or sequence of float
        Least overlap of neighbours, as a fraction of the tile (along each axis), from 0 to 0.9.
    batch : int
        Most tiles in a batch.
    multiple_of : sequence of int, optional
        Step between the sizes that the network takes, per axis. Default 1.
    minimum : sequence of int, optional
        Smallest size that the network takes: ``minimum + n * multiple_of`` are all of them.
        By default the step itself.
    fixed : sequence of (int or None), optional
        The only size that the network takes along an axis, or None.
    spread : {"even", "stride", "cellpose", "aligned"}
        ``"stride"`` moves on by the tile without the overlap, and only the last tile back to the edge.
        ``"cellpose"`` pads the image by 8 pixels and more on each side to a multiple of twice that, and cuts that
        into tiles of the size that is asked for, evenly spread. ``"aligned"``
        begins at the image's first pixel and moves on by multiples of `multiple_of`; what is missing is padded
        behind the image's end. So a network with poolings cuts the same blocks out of tiles as out of the whole.

    Returns
    -------
    TilePlan
        An image smaller than a tile gets one tile, padded to the next size that the network takes.

    Raises
    ------
    OptionError
        If the numbers of axes differ, or a number is outside its range.
    """
    axes = _axes(spatial_shape, tile, multiple_of, minimum, fixed, overlap)
    shape, shares = tuple(axis.n for axis in axes), [axis.overlap for axis in axes]
    smallest = min(min(axis.n, axis.tile, axis.minimum) for axis in axes)
    if not 0 <= min(shares) <= max(shares) <= 0.9 or batch < 1 or smallest < 1:
        raise OptionError(
            f"A plan needs an overlap of 0 to 0.9 and positive sizes; found overlap {overlap}, batch {batch}, "
            f"image {shape}, tile {tuple(tile)}, minimum {tuple(axis.minimum for axis in axes)}."
        )
    if spread == "cellpose":
        cuts = [_cut_as_cellpose(axis.n, axis.tile, axis.overlap) for axis in axes]
    else:
        cuts = [_cut_axis(axis, spread) for axis in axes]
    return TilePlan(shape, tuple(t for t, _ in cuts), tuple(starts for _, starts in cuts), batch, max(shares))


@dataclass(frozen=True)
class _Axis:
    """An axis of `n` pixels, the largest tile, the sizes that the network takes, and how far tiles overlap.

    Sizes are ``minimum + i * step``, or `fixed` alone where it is one; `overlap` is a part of the tile.
    """

    n: int
    tile: int
    minimum: int
    step: int
    fixed: int | None
    overlap: float

    @property
    def largest(self) -> int:
        """The largest size that the network takes within the tile."""
        return self.fixed or self.minimum + max(0, (self.tile - self.minimum) // self.step) * self.step

    def at_least(self, size: int) -> int:
        """The smallest size that the network takes and that is no smaller."""
        return self.fixed or self.minimum + max(0, math.ceil((size - self.minimum) / self.step)) * self.step


def _axes(
    shape: Sequence[int],
    tile: Sequence[int],
    multiple_of: Sequence[int] | None,
    minimum: Sequence[int] | None,
    fixed: Sequence[int | None] | None,
    overlap: float | Sequence[float],
) -> list[_Axis]:
    """What is known of each axis, if all is known of as many."""
    count = len(shape)
    steps = tuple(multiple_of or (1,) * count)
    minima = tuple(minimum or steps)
    only = tuple(fixed or (None,) * count)
    shares = (overlap,) * count if isinstance(overlap, (int, float)) else tuple(overlap)
    if not len(tile) == len(steps) == len(minima) == len(only) == len(shares) == count:
        raise OptionError(
            f"The image has {count} spatial axes, but the tile is {tuple(tile)}, the step {steps}, "
            f"the minimum {minima} and the fixed size {only}."
        )
    return [
        _Axis(int(n), size, low, max(step, 1), one or None, share)
        for n, size, low, step, one, share in zip(shape, tile, minima, steps, only, shares, strict=True)
    ]


def _cut_axis(axis: _Axis, spread: str) -> tuple[int, tuple[int, ...]]:
    """Tile size and starts along one axis."""
    n, largest, overlap = axis.n, axis.largest, axis.overlap
    if n <= largest:
        size = axis.at_least(n)
        return size, (0 if spread == "aligned" else -((size - n) // 2),)
    stride = max(1, int(largest * (1 - overlap)))
    count = math.ceil((n - largest) / stride) + 1
    if spread == "aligned":
        return largest, _aligned(n, largest, overlap, axis.step)
    if spread == "stride":
        return largest, tuple(min(stride * i, n - largest) for i in range(count))
    size = min(largest, axis.at_least(math.ceil(n / (1 + (count - 1) * (1 - overlap)))))
    return size, tuple(round((n - size) * i / (count - 1)) for i in range(count))


def _cut_as_cellpose(n: int, tile: int, overlap: float) -> tuple[int, tuple[int, ...]]:
    """Tile size and starts along one axis, as version 3 of Cellpose has them.

    Examples
    --------
    >>> _cut_as_cellpose(200, 224, 0.1), _cut_as_cellpose(300, 224, 0.1)
    ((224, (-12,)), (224, (-10, 86)))
    """
    multiple = 2 * _MARGIN
    padded = -(-n // multiple) * multiple + multiple
    before = _MARGIN + (padded - multiple - n) // 2
    size = min(max(tile // multiple, 1) * multiple, padded)
    if size == padded:
        return size, (-before,)
    count = math.ceil((1 + 2 * min(max(overlap, 0.05), 0.5)) * padded / size)
    starts = np.linspace(0, padded - size, count).astype(int)
    return size, tuple(int(start) - before for start in starts)


def _aligned(n: int, size: int, overlap: float, step: int) -> tuple[int, ...]:
    """Starts at multiples of a step, spread evenly, of tiles that overlap at least so much and reach the end."""
    stride = max(1, int(size * (1 - overlap)) // step)
    last = math.ceil((n - size) / step)
    count = math.ceil(last / stride) + 1
    return tuple(last * i // (count - 1) * step for i in range(count))


def blending_weights(plan: TilePlan) -> tuple[tuple[np.ndarray, ...], ...]:
    """Weights of the tiles along each axis, which add up to one at every pixel.

    Parameters
    ----------
    plan : TilePlan
        The tiles.

    Returns
    -------
    tuple of tuple of ndarray
        For each axis, for each start, float32 of the tile's size. Exactly 1 where no other tile
        lies, so there the scores are the network's own.

    Examples
    --------
    >>> plan = plan_tiles((6,), tile=(4,), overlap=0.5)
    >>> first, last = blending_weights(plan)[0]
    >>> print(first.round(3), first[2:] + last[:2])
    [1. 1. 0.982 0.018] [1. 1.]
    """
    axes = zip(plan.tile, plan.starts, strict=True)
    return tuple(_axis_weights(size, starts, plan.blend) for size, starts in axes)


def _axis_weights(size: int, starts: tuple[int, ...], blend: str) -> tuple[np.ndarray, ...]:
    if len(starts) == 1:
        return (np.ones(size, np.float32),)
    if blend == "nearest":
        return _nearest_weights(size, starts)
    window = _window(size) if blend == "gaussian" else np.ones(size)
    if blend == "nnunet":
        window = _window(size, size // 2)
    if blend == "cellpose":
        window = _tapered(size)
    firsts = [start - starts[0] for start in starts]
    total = np.zeros(firsts[-1] + size)
    for first in firsts:
        total[first : first + size] += window
    return tuple((window / total[first : first + size]).astype(np.float32) for first in firsts)


def _tapered(size: int) -> np.ndarray:
    """Cellpose's weights: a logistic curve at both ends, that of its usual tile where this one is smaller."""
    whole = max(size, _TAPERED)
    away = np.abs(np.arange(size) + (whole // 2 - size // 2) - (whole - 1) / 2)
    return np.asarray(1 / (1 + np.exp((away - (whole / 2 - _TAPER)) / _SOFT)))


def own_spans(size: int, starts: tuple[int, ...], cell: int = 1) -> list[tuple[int, int]]:
    """First pixel, and one past the last, that are nearest to the middle of each tile along an axis.

    Parameters
    ----------
    size : int
        Of the tiles.
    starts : tuple of int
        Their first pixels.
    cell : int
        What all spans are multiples of, if sizes and starts are.

    Examples
    --------
    >>> own_spans(6, (0, 4, 8), 2)
    [(0, 4), (4, 8), (8, 14)]
    """
    middles = [(a + size + b) // 2 // cell * cell for a, b in itertools.pairwise(starts)]
    return list(itertools.pairwise([starts[0], *middles, starts[-1] + size]))


def _nearest_weights(size: int, starts: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Ones and zeros: the next tile takes over in the middle of what it shares with the one before."""
    weights = []
    for start, (first, last) in zip(starts, own_spans(size, starts), strict=True):
        weight = np.zeros(size, np.float32)
        weight[first - start : last - start] = 1
        weights.append(weight)
    return tuple(weights)


def _window(size: int, centre: float | None = None) -> np.ndarray:
    """A Gaussian that is highest at `centre`, by default in the middle."""
    position = (np.arange(size) - ((size - 1) / 2 if centre is None else centre)) / (size / 8)
    return np.exp(-0.5 * position**2)


def floored_weights(plan: TilePlan, index: tuple[int, ...]) -> np.ndarray:
    """Weights of one tile of a plan whose blend is ``"floored"``.

    Parameters
    ----------
    plan : TilePlan
        The tiles.
    index : tuple of int
        Which one: its number along each axis.

    Returns
    -------
    ndarray of float32
        Of the tile's shape; those of all tiles add up to one at every pixel. Not to be changed.

    Examples
    --------
    >>> plan = plan_tiles((6,), tile=(4,), overlap=0.5)
    >>> print(floored_weights(plan, (0,)).round(3))
    [1.    1.    0.982 0.018]
    """
    offsets = []
    for i, size, starts in zip(index, plan.tile, plan.starts, strict=True):
        offsets.append(tuple(start - starts[i] for start in starts if abs(start - starts[i]) < size))
    return _floored(plan.tile, tuple(offsets))


@functools.lru_cache(maxsize=8)  # tiles in the middle of an image have the same neighbours
def _floored(tile: tuple[int, ...], offsets: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Weight of a tile over that of all that begin at some offsets from it."""
    windows = [_window(size).astype(np.float32) for size in tile]
    whole = functools.reduce(np.multiply.outer, windows)
    whole = np.maximum(whole, max(float(whole.min()), _FLOOR))
    total = np.zeros(tile, np.float32)
    for offset in itertools.product(*offsets):
        here = tuple(slice(max(d, 0), size + min(d, 0)) for d, size in zip(offset, tile, strict=True))
        there = tuple(slice(max(-d, 0), size - max(d, 0)) for d, size in zip(offset, tile, strict=True))
        total[here] += whole[there]
    return np.divide(whole, total, out=total)
