"""What single training cases are like: read once, measured, and checked before anything is trained."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepbio.cases import Case, load_sample
from deepbio.engine.geometry import nonzero_box
from deepbio.errors import ImageError
from deepbio.image import Grid
from deepbio.io import atomic

__all__ = [
    "CLASS_LIMIT",
    "CaseFacts",
    "check_labels",
    "check_listed",
    "gaps_told",
    "measure",
    "nearest_orientation",
    "write_facts",
]

CLASS_LIMIT = 16
"""More different labels than this are objects."""

_TOLD = 8  # labels that a message lists
_PIXELS = 20_000  # sampled from each case for intensities
_LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))  # along world x, y, z (LPS): forwards, backwards


@dataclass(frozen=True)
class CaseFacts:
    """What one case is like; axes in the order of its array.

    Attributes
    ----------
    image, group, modality : str
        File name, kind, and modality where the file says it.
    shape, box : tuple of int
        Size, and size of the bounding box of the pixels that are not 0.
    spacing : tuple of float
        In `unit`.
    unit, orientation : str
        Unit of the spacing; where the axes point (`nearest_orientation`).
    channels : int
        Channels.
    labels : dict of int to int
        Pixels of each label.
    centres : dict of int to tuple of float
        Centre of each label, for up to 16 of them, as a fraction of each axis.
    pixels, foreground : ndarray of float64
        Samples of all intensities, and of those at labelled pixels.
    """

    image: str
    group: str
    modality: str
    shape: tuple[int, ...]
    box: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    orientation: str
    channels: int
    labels: Mapping[int, int] = field(repr=False)
    centres: Mapping[int, tuple[float, ...]] = field(repr=False)
    pixels: np.ndarray = field(repr=False)
    foreground: np.ndarray = field(repr=False)


def check_labels(cases: Sequence[Case], classes: Sequence[int] = ()) -> None:
    """Read the labels of cases and compare them with their images and with the list of classes.

    Raises
    ------
    ImageError, InputMismatch
        As in `make_fingerprint`.
    """
    for case in cases:
        sample = load_sample(case)
        area = np.bincount(sample.labels.ravel())
        check_listed(case, {int(k): int(area[k]) for k in np.flatnonzero(area[1:]) + 1}, classes)


def check_listed(case: Case, labels: Mapping[int, int], classes: Sequence[int]) -> None:
    """Refuse labels (and their pixels) that are not in the list of classes; an empty list allows any."""
    strange = sorted(set(labels) - set(classes)) if classes else []
    if strange:
        told = ", ".join(f"{label} ({labels[label]} pixels)" for label in strange[:5])
        raise ImageError(
            f"{str(case.labels)!r} holds labels outside of the list of classes: {told}; "
            f"the list is {', '.join(map(str, sorted(classes)))}.",
            "Correct the labels, or add the class to 'classes' in the description (--about).",
        )


def gaps_told(facts: Sequence[CaseFacts], count: int) -> str:
    """Say which of the classes from 1 to `count` have no pixel in any case that was measured.

    Returns
    -------
    str
        Which labels there are, which classes are empty, and what to do; empty where all have some.
    """
    present = sorted({label for one in facts for label in one.labels})
    empty = [str(label) for label in range(1, count + 1) if label not in present]
    if not empty:
        return ""
    told = ", ".join(empty[:_TOLD]) + (", ..." if len(empty) > _TOLD else "")
    renumbered = ", ".join(f"{label} as {number}" for number, label in enumerate(present[:_TOLD], 1))
    return (
        f"The labels are {', '.join(map(str, present))}, so the network learns {count} classes, of which {len(empty)} "
        f"have no pixel ({told}). Number the labels without gaps ({renumbered}), or, where the gaps are meant, name "
        "the classes that there are under 'classes' in the description (--about). If every object has a number of "
        "its own, give --target instances."
    )


def measure(case: Case) -> CaseFacts:
    """Read a case and measure it."""
    sample = load_sample(case)
    labels, grid = sample.labels, sample.grid
    area = np.bincount(labels.ravel())
    present = (np.flatnonzero(area[1:]) + 1).tolist()
    pixels = sample.image.reshape(len(sample.image), -1)
    inside = np.flatnonzero(labels)
    box = nonzero_box(sample.image)
    return CaseFacts(
        image=case.image.name,
        group=case.group,
        modality=str(sample.meta.get("modality", "")).upper(),
        shape=labels.shape,
        box=tuple(stop - start for start, stop in box),
        spacing=grid.spacing,
        unit=grid.unit,
        orientation=nearest_orientation(grid) if grid.ndim == 3 and grid.unit == "millimeter" else "",
        channels=len(sample.image),
        labels={label: int(area[label]) for label in present},
        centres=_centres(labels, inside) if len(present) <= CLASS_LIMIT else {},
        pixels=_sampled(pixels.reshape(-1)),
        foreground=_sampled(pixels[:, inside[:: max(1, len(inside) // _PIXELS)]].reshape(-1)),
    )


def _sampled(values: np.ndarray) -> np.ndarray:
    return values[:: max(1, values.size // _PIXELS)].astype(np.float64)


def _centres(labels: np.ndarray, inside: np.ndarray) -> dict[int, tuple[float, ...]]:
    """Centre of each label as a fraction of the axes, from the flat indices of the foreground."""
    marks = labels.ravel()[inside]
    count = np.bincount(marks)
    centres = [
        np.bincount(marks, weights=(at + 0.5) / n) / np.maximum(count, 1)
        for at, n in zip(np.unravel_index(inside, labels.shape), labels.shape, strict=True)
    ]
    return {int(label): tuple(float(c[label]) for c in centres) for label in np.flatnonzero(count)}


def nearest_orientation(grid: Grid) -> str:
    """Where the array axes of a 3D grid point as their index grows, to the nearest direction.

    Examples
    --------
    >>> nearest_orientation(Grid((5, 7, 11)))  # z, y, x of the array along z, y, x of the world
    'SPL'
    """
    direction = grid.direction
    # each array axis gets a world axis of its own, also where two are at 45 degrees
    worlds = max(
        itertools.permutations(range(3)),
        key=lambda worlds: round(sum(abs(direction[world, k]) for k, world in enumerate(worlds)), 6),
    )
    return "".join(_LETTERS[world][int(direction[world, k] < 0)] for k, world in enumerate(worlds))


def write_facts(path: Path, facts: Sequence[CaseFacts]) -> None:
    """Write what was measured of each case as CSV, for looking through."""
    columns = ("image", "group", "modality", "shape", "box", "spacing", "unit", "orientation", "channels")
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "labels", "foreground_mean"])
        for one in facts:
            values = (getattr(one, name) for name in columns)
            told = [" x ".join(map(str, v)) if isinstance(v, tuple) else v for v in values]
            mean = round(float(one.foreground.mean()), 3) if one.foreground.size else ""
            writer.writerow([*told, " ".join(f"{k}:{v}" for k, v in one.labels.items()), mean])
