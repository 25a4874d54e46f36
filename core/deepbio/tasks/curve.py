"""What labels through time come to: the size of each class in each frame, and the ejection fraction."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from deepbio.image import LabelMap, Table

__all__ = ["ejection", "jitter", "sizes_through_time", "volume_curve"]

_SYMBOLS = {"pixel": "px", "micrometer": "um", "millimeter": "mm"}


def volume_curve(labels: LabelMap, names: Mapping[int, str], *, heart: bool = False) -> Table:
    """Size of each class in each frame.

    Parameters
    ----------
    labels : LabelMap
        Classes, axes T[Z]YX.
    names : mapping of int to str
        The classes to tell of.
    heart : bool
        Whether to tell the phase (``ED`` at the largest size, ``ES`` at the smallest) and the ejection fraction,
        the same in all rows of a class.

    Returns
    -------
    Table
        A row for each class and frame: ``frame`` (from 1), ``time`` (s, where the interval is known), ``label``,
        ``name`` and ``volume`` (ml for stacks in mm) or ``area``.

    Examples
    --------
    >>> array = np.zeros((3, 2, 2), np.uint8)
    >>> array[0], array[1, 0, 0], array[2, 0] = 1, 1, 1
    >>> table = volume_curve(LabelMap(array, "TYX"), {1: "ventricle"}, heart=True)
    >>> table["area"].tolist(), table["phase"].tolist(), table["ejection_fraction"].tolist()
    ([4.0, 1.0, 2.0], ['ED', 'ES', ''], [0.75, 0.75, 0.75])
    """
    dims = len(labels.axes) - 1
    word, unit, factor = ("area", f"{_SYMBOLS[labels.grid.unit]}^2", 1.0)
    if dims > 2:
        word, unit = "volume", f"{_SYMBOLS[labels.grid.unit]}^3"
        if labels.grid.unit == "millimeter":
            unit, factor = "ml", 1e-3
    size = math.prod(labels.grid.spacing[-dims:]) * factor
    counts = sizes_through_time(labels, max(names, default=0))
    frames, units = np.arange(len(counts)), {word: unit}
    parts = []
    for label, name in sorted(names.items()):
        curve = counts[:, label] * size
        columns: dict[str, np.ndarray] = {"frame": frames + 1}
        if labels.frame_interval:
            columns["time"], units["time"] = np.round(frames * labels.frame_interval, 6), "s"
        columns |= {"label": np.full(len(frames), label), "name": np.full(len(frames), name), word: curve}
        if heart:
            full, empty, fraction = ejection(curve)
            phase = np.full(len(frames), "", dtype="<U2")
            if math.isfinite(fraction):
                phase[full], phase[empty] = "ED", "ES"
            columns |= {"phase": phase, "ejection_fraction": np.full(len(frames), fraction)}
        parts.append(Table(columns, units))
    return Table.concatenate(parts)


def sizes_through_time(labels: LabelMap, highest: int) -> np.ndarray:
    """Pixels of each label in each frame, shape (T, highest + 1)."""
    return np.stack(
        [
            np.bincount(np.ravel(labels.array[t]), minlength=highest + 1)[: highest + 1]
            for t in range(labels.shape[0])
        ]
    )


def ejection(curve: np.ndarray) -> tuple[int, int, float]:
    """Frames of the largest and smallest size, and what part of the largest is gone at the smallest.

    Examples
    --------
    >>> ejection(np.array([90.0, 120.0, 60.0, 80.0]))
    (1, 2, 0.5)
    """
    full, empty = int(np.argmax(curve)), int(np.argmin(curve))
    if curve[full] <= 0:
        return full, empty, math.nan
    return full, empty, float(1 - curve[empty] / curve[full])


def jitter(curve: np.ndarray) -> float:
    """Root mean square of a curve's second difference, over its range.

    A curve that is steady or changes evenly has 0; a sine of 20 frames a period has 0.035.

    Examples
    --------
    >>> round(jitter(np.sin(2 * np.pi * np.arange(200) / 20)), 3), jitter(np.array([1.0, 2.0, 3.0, 4.0]))
    (0.035, 0.0)
    """
    extent = float(np.ptp(curve))
    if len(curve) < 3 or extent == 0:
        return 0.0
    return float(np.sqrt(np.mean(np.diff(np.asarray(curve, float), 2) ** 2)) / extent)
