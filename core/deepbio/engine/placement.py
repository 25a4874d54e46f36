"""Where the grid that a network works on lies over an image.

Three steps, the first two of which never touch a value: axes are permuted and flipped to the
nearest anatomical order ("canonical axes"), a box is cut out, and the box is interpolated to the wanted
spacing. Both grids cover exactly the same extent, so the spacing is the wanted one up to the rounding
of the number of pixels (as in nnU-Net, Isensee et al. 2021, doi:10.1038/s41592-020-01008-z); oblique
images stay oblique.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deepbio.engine.grid_spec import GridSpec
from deepbio.engine.resample import AxisMap
from deepbio.engine.spacing import Line, counts_and_steps, inverse, lines_of, maps_along
from deepbio.errors import InputMismatch
from deepbio.image import Grid

__all__ = ["METRES", "Box", "Placement", "place"]

Box = tuple[tuple[int, int], ...]

_THICK = 3.0  # axes whose spacing is so many times the finest are interpolated linearly
_LARGEST = 2**33  # pixels of a working grid: more is a wrong unit
METRES = {"millimeter": 1e-3, "micrometer": 1e-6}
_DIRECTIONS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a working grid lies on an image; made by :func:`place`.

    Attributes
    ----------
    source : Grid
        The image's own grid.
    grid : Grid
        The working grid, in the same world and unit.
    axes : tuple of int
        Axis of the source for each canonical axis.
    flips : tuple of bool
        Whether a canonical axis runs backwards in the source.
    box : tuple of (int, int)
        First pixel and one past the last, along each canonical axis, of what is worked on.
    interpolation, back : str
        As of the `GridSpec`.
    """

    source: Grid
    grid: Grid
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    box: Box
    interpolation: str = ""
    back: str = ""

    @property
    def box_shape(self) -> tuple[int, ...]:
        """Pixels of the box along each canonical axis."""
        return tuple(stop - start for start, stop in self.box)

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        """Pixels of the whole image along each canonical axis."""
        return tuple(self.source.shape[axis] for axis in self.axes)

    @property
    def exact(self) -> bool:
        """Whether no value is interpolated."""
        same = self.box_shape == self.grid.shape
        return same and (self.interpolation != "monai" or all(line == (0.0, 1.0) for line in self.lines))

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Pixel of the box where the first place lies, and pixels from place to place, along each canonical axis."""
        sizes, counts = self.box_shape, self.grid.shape
        if self.interpolation != "monai":
            ratios = [n / count for n, count in zip(sizes, counts, strict=True)]
            return tuple((0.5 * ratio - 0.5, ratio) for ratio in ratios)
        own = (self.source.spacing[axis] for axis in self.axes)
        steps = [new / old for new, old in zip(self.grid.spacing, own, strict=True)]
        return tuple(lines_of(self.source, sizes, counts, steps))

    @property
    def identity(self) -> bool:
        """Whether the working grid is the image's own."""
        whole = self.exact and self.box_shape == self.source.shape
        return whole and self.axes == tuple(range(len(self.axes))) and not any(self.flips)

    @property
    def in_box(self) -> tuple[slice, ...]:
        """Key of the box in an array with canonical axes."""
        return tuple(slice(start, stop) for start, stop in self.box)

    @cached_property
    def maps(self) -> tuple[AxisMap, ...]:
        """From the box to the working grid, for images: cubic, linear along thick axes."""
        before = [self.source.spacing[axis] for axis in self.axes]
        if self.interpolation == "monai":
            return maps_along(self.box_shape, self.grid.shape, self.lines, "linear")
        if self.interpolation == "nnunet":
            return self._as_nnunet(self.box_shape, self.grid.shape, (before, self.grid.spacing), "spline")
        if self.interpolation == "linear":
            return _unwidened(self.box_shape, self.grid.shape)
        thick = [
            before[k] > _THICK * min(before) or self.grid.spacing[k] > _THICK * min(self.grid.spacing)
            for k in range(self.grid.ndim)
        ]
        sizes = zip(self.box_shape, self.grid.shape, thick, strict=True)
        return tuple(
            AxisMap(size, count, kernel="linear" if flat else "cubic") for size, count, flat in sizes
        )

    @cached_property
    def linear_maps(self) -> tuple[AxisMap, ...]:
        """From the box to the working grid, for labels."""
        if self.interpolation == "monai":
            return self.maps
        if self.interpolation == "nnunet":
            before = [self.source.spacing[axis] for axis in self.axes]
            return self._as_nnunet(self.box_shape, self.grid.shape, (before, self.grid.spacing), "linear")
        return tuple(AxisMap(n, count) for n, count in zip(self.box_shape, self.grid.shape, strict=True))

    @cached_property
    def back_maps(self) -> tuple[AxisMap, ...]:
        """From the working grid to the box, for scores: linear, or as `back` says."""
        if self.interpolation == "monai":
            back = [inverse(line) for line in self.lines]
            return maps_along(self.grid.shape, self.box_shape, back, self.back or "linear")
        if self.interpolation == "nnunet":
            after = [self.source.spacing[axis] for axis in self.axes]
            return self._as_nnunet(self.grid.shape, self.box_shape, (self.grid.spacing, after), "linear")
        if self.interpolation == "linear":
            return _unwidened(self.grid.shape, self.box_shape)
        return tuple(AxisMap(n, count) for n, count in zip(self.grid.shape, self.box_shape, strict=True))

    @property
    def thick(self) -> int | None:
        """The axis along which the nearest pixel is taken, where nnU-Net's rule finds one."""
        if self.interpolation != "nnunet":
            return None
        return _thick_axis([self.source.spacing[axis] for axis in self.axes], self.grid.spacing)

    def _as_nnunet(
        self,
        sizes: Sequence[int],
        counts: Sequence[int],
        spacings: tuple[Sequence[float], Sequence[float]],
        kernel: str,
    ) -> tuple[AxisMap, ...]:
        """Maps as nnU-Net's: one kernel, but for the nearest pixel along the axis of thick slices."""
        thick = _thick_axis(*spacings)
        kernels = ["nearest" if k == thick else kernel for k in range(len(sizes))]
        each = zip(sizes, counts, kernels, strict=True)
        return tuple(AxisMap(size, count, kernel=one, widen=False) for size, count, one in each)

    def to_source(self, places: np.ndarray) -> np.ndarray:
        """Index on the image's own grid of places (n, axes) on the working grid, both of centres."""
        first, ratios = np.array(self.lines).T
        found = np.asarray(places, float) * ratios + first + [start for start, _ in self.box]
        own = np.empty_like(found)
        for k, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            own[:, axis] = self.source.shape[axis] - 1 - found[:, k] if flip else found[:, k]
        return own

    def to_grid(self, places: np.ndarray) -> np.ndarray:
        """Index on the working grid of places (n, axes) on the image's own; inverse of :meth:`to_source`."""
        own = np.asarray(places, float)
        sizes = zip(self.axes, self.flips, strict=True)
        turned = [
            self.source.shape[axis] - 1 - own[:, axis] if flip else own[:, axis] for axis, flip in sizes
        ]
        first, ratios = np.array(self.lines).T
        within = np.stack(turned, axis=1) - [start for start, _ in self.box]
        return np.asarray((within - first) / ratios)

    def canonical(self, array: np.ndarray) -> np.ndarray:
        """View of an array, whose last axes are the source's, with canonical axes; may be written to."""
        lead = array.ndim - len(self.axes)
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        key = tuple(slice(None, None, -1 if flip else None) for flip in self.flips)
        return turned[(..., *key)]


def place(grid: Grid, spec: GridSpec, box: Box | None = None) -> Placement:
    """Lay the working grid that a card asks for over an image.

    Parameters
    ----------
    grid : Grid
        The image's own grid. In pixels it is taken as having the wanted spacing already.
    spec : GridSpec
        What the card asks for.
    box : tuple of (int, int), optional
        Part of the image along each canonical axis; by default all of it.

    Returns
    -------
    Placement
        Index ``i`` of the working grid lies at index ``(i + 0.5) * ratio - 0.5`` of the box: both
        cover the same extent.

    Raises
    ------
    InputMismatch
        If the number of axes differs, or the spacing of the image cannot be meant.

    Examples
    --------
    >>> ct = Grid((40, 512, 512), (5.0, 0.7, 0.7), unit="millimeter")
    >>> placed = place(ct, GridSpec((2.5, 1.4, 1.4), orientation="SAR"))
    >>> placed.grid.shape, placed.flips
    ((80, 256, 256), (False, True, True))
    """
    axes, flips = _orient(grid, spec)
    own = [grid.spacing[axis] for axis in axes]
    wanted = [s / spec.zoom for s in _wanted_spacing(grid, spec, own)]
    whole = tuple((0, grid.shape[axis]) for axis in axes)
    box = whole if box is None else tuple((int(start), int(stop)) for start, stop in box)
    if len(box) != len(whole) or any(not 0 <= a < b <= n for (a, b), (_, n) in zip(box, whole, strict=False)):
        raise ValueError(f"the box {box} does not lie in {whole}")
    sizes = [stop - start for start, stop in box]
    _check_size(grid, sizes, own, wanted)
    if spec.interpolation == "monai":
        counts, ratios = counts_and_steps(sizes, own, wanted)
        offsets = [first for first, _ in lines_of(grid, sizes, counts, ratios)]
    else:
        rounded = _ROUNDS.get(spec.interpolation, _rounded)
        counts = [max(1, rounded(n, s, t)) for n, s, t in zip(sizes, own, wanted, strict=True)]
        ratios = [n / count for n, count in zip(sizes, counts, strict=True)]
        offsets = [0.5 * ratio - 0.5 for ratio in ratios]
    first = np.zeros(grid.ndim)
    for k, axis in enumerate(axes):
        at = box[k][0] + offsets[k]
        first[axis] = grid.shape[axis] - 1 - at if flips[k] else at
    signs = np.where(flips, -1.0, 1.0)
    working = Grid(
        tuple(counts),
        tuple(s * ratio for s, ratio in zip(own, ratios, strict=True)),
        tuple(grid.to_world(first)),
        grid.direction[:, list(axes)] * signs,
        grid.unit,
    )
    return Placement(grid, working, axes, flips, box, spec.interpolation, spec.back)


def _rounded(count: int, spacing: float, wanted: float) -> int:
    return math.floor(count * spacing / wanted + 0.5)


def _as_nnunet_rounds(count: int, spacing: float, wanted: float) -> int:
    """Halves to the even number, and the operations in nnU-Net's order: one pixel more or less moves all others."""
    return round(spacing / wanted * count)


def _rounded_down(count: int, spacing: float, wanted: float) -> int:
    """What is whole but for the rounding of the numbers stays whole."""
    return math.floor(count * spacing / wanted * (1 + 1e-12))


_ROUNDS = {"nnunet": _as_nnunet_rounds, "linear": _rounded_down}


def _unwidened(sizes: Sequence[int], counts: Sequence[int]) -> tuple[AxisMap, ...]:
    return tuple(AxisMap(size, count, widen=False) for size, count in zip(sizes, counts, strict=True))


def _thick_axis(before: Sequence[float], after: Sequence[float]) -> int | None:
    """The axis of thick slices by nnU-Net's rule: of the old grid, else of the new one, if it is one alone."""
    for spacing in (before, after):
        if max(spacing) > _THICK * min(spacing):
            at = [k for k, s in enumerate(spacing) if math.isclose(s, max(spacing), rel_tol=1e-5)]
            return at[0] if len(at) == 1 and len(spacing) == 3 else None
    return None


def _orient(grid: Grid, spec: GridSpec) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Axes and flips that bring the array nearest to the orientation."""
    if not spec.orientation:
        return tuple(range(grid.ndim)), (False,) * grid.ndim
    if grid.ndim != 3:
        raise InputMismatch(
            f"The model works in the orientation {spec.orientation!r}, which a 2D image does not have."
        )
    wanted = [_DIRECTIONS[letter] for letter in spec.orientation]

    def agreement(axes: tuple[int, ...]) -> float:
        return sum(abs(float(grid.direction[world, a])) for (world, _), a in zip(wanted, axes, strict=True))

    # rounded, so that at 45 degrees noise in the direction does not decide
    axes = max(itertools.permutations(range(3)), key=lambda axes: round(agreement(axes), 6))
    flips = tuple(grid.direction[world, a] * sign < 0 for (world, sign), a in zip(wanted, axes, strict=True))
    return axes, tuple(bool(flip) for flip in flips)


def _wanted_spacing(grid: Grid, spec: GridSpec, own: Sequence[float]) -> list[float]:
    """Spacing of the working grid in the unit of the image, before rounding."""
    if not spec.spacing:
        return list(own)
    if len(spec.spacing) != grid.ndim:
        raise InputMismatch(
            f"The model works on a {len(spec.spacing)}D grid with the spacing {spec.spacing}; "
            f"the image is {grid.ndim}D."
        )
    if grid.unit == "pixel":
        return list(own)
    factor = METRES[spec.unit] / METRES[grid.unit]
    return [s if t is None else t * factor for s, t in zip(own, spec.spacing, strict=True)]


def _check_size(grid: Grid, sizes: Sequence[int], own: Sequence[float], wanted: Sequence[float]) -> None:
    """Refuse what only a wrong unit or spacing can mean, before memory is asked for."""
    counts = [n * s / t for n, s, t in zip(sizes, own, wanted, strict=True)]
    if math.prod(counts) > max(_LARGEST, 8 * math.prod(sizes)) or (max(counts) < 1 < max(sizes)):
        told = " x ".join(f"{n:.3g}" for n in counts)
        raise InputMismatch(
            f"The image has {tuple(sizes)} pixels of {tuple(own)} {grid.unit}; the model works at "
            f"{tuple(round(t, 6) for t in wanted)} {grid.unit}, which would be {told} pixels.",
            "Check the spacing and the unit in the image file.",
        )
