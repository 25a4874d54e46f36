"""What the images of a classifier's data set are like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepbio.cases.classify import ClassCase, load_placed
from deepbio.errors import InputMismatch
from deepbio.image import Grid

__all__ = ["measure"]

_MEASURED = 1000  # images whose intensities are measured


def measure(cases: Sequence[ClassCase]) -> tuple[dict[str, Any], list[Grid]]:
    """Sizes and grids of all images, and the intensities of some.

    Returns
    -------
    facts : dict
        ``channels``, ``dims``, ``median_size``, ``smallest_size``, ``largest_size``, ``type``, ``mean``, ``std``.
    grids : list of Grid
        Of each image.

    Raises
    ------
    InputMismatch
        If images differ in channels or axes.
    """
    first: tuple[int, int] | None = None
    sizes, types = [], set()
    grids: list[Grid] = []
    every = max(1, len(cases) // _MEASURED)
    sums: list[np.ndarray] = []
    for number, case in enumerate(cases):
        pixels, grid = load_placed(case)
        grids.append(grid)
        found = (pixels.shape[0], pixels.ndim - 1)
        if first is not None and found != first:
            raise InputMismatch(
                f"{_told(cases[0])} has {_kind(*first)}, {_told(case)} has {_kind(*found)}; all images of a "
                "data set must be of one kind.",
                "Convert them to the same, all grey or all colour.",
            )
        first = found
        sizes.append(pixels.shape[1:])
        types.add(str(pixels.dtype))
        if number % every == 0:
            flat = pixels.reshape(found[0], -1).astype(np.float64)
            sums.append(np.stack((flat.mean(1), (flat**2).mean(1))))
    assert first is not None, "split_cases gives at least one case"  # noqa: S101
    mean, square = np.mean(sums, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1e-12))
    facts = {
        "channels": first[0],
        "dims": first[1],
        "median_size": tuple(int(n) for n in np.median(sizes, axis=0)),
        "smallest_size": tuple(int(n) for n in np.min(sizes, axis=0)),
        "largest_size": tuple(int(n) for n in np.max(sizes, axis=0)),
        "type": types.pop() if len(types) == 1 else "mixed",
        "mean": tuple(round(float(one), 3) for one in mean),
        "std": tuple(round(float(one), 3) for one in std),
    }
    return facts, grids


def _told(case: ClassCase) -> str:
    return f"{str(case.image)!r}" + (f" ({case.name})" if case.index >= 0 else "")


def _kind(channels: int, dims: int) -> str:
    return f"{channels} channel{'s' * (channels > 1)} in {dims}D"
