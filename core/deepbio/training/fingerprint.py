"""The fingerprint of a data set: what its cases are like as a whole, from which the plan follows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deepbio.cases import Case
from deepbio.errors import ImageError
from deepbio.training.facts import CLASS_LIMIT, CaseFacts, check_labels, check_listed, measure

__all__ = ["Fingerprint", "make_fingerprint"]

_MAX_CASES = 200  # a fingerprint from so many cases does not change with more
_HOUNSFIELD = -200.0  # MR, light and counts are not below it; CT with air around is
_METRES = {"millimeter": 1e-3, "micrometer": 1e-6}
_PAIRS = ("LR", "PA", "SI")
_SIDED_CASES = 8  # from so many on, chance does not lay two classes on the same sides in nine of ten
_SIDED_SHARE, _SIDED_GAP = 0.9, 0.1  # of the cases; of the size of the image


@dataclass(frozen=True)
class Fingerprint:
    """What the training cases are like; axes in the order of `orientation`, where there is one.

    Attributes
    ----------
    cases : int
        Cases looked at.
    dims : int
        2 or 3.
    channels : tuple of int
        Channel counts that occur.
    size : tuple of int
        Median size per axis.
    smallest : tuple of int
        Least size per axis.
    spacing : tuple of float
        Median spacing per axis.
    unit : str
        Its unit; "pixel" where a case does not say.
    intensity : dict of str to float
        Percentiles 0.5, 50, 99.5, mean and standard deviation over all cases' pixels.
    labels : int
        Different non-zero labels over all cases.
    objects : int
        Median number of labels per case.
    object_diameter : tuple of float
        5th, 50th and 95th percentile of object diameters in pixels (of equal area or volume).
    foreground : float
        Mean fraction of labelled pixels.
    class_fractions : dict of int to float
        Mean fraction of pixels per label, for up to 16 labels.
    groups : dict of str to int
        Cases per group.
    foreground_intensity : dict of str to float
        As `intensity`, of labelled pixels.
    fine_spacing : tuple of float
        10th percentile of the spacing per axis.
    orientation : str
        3D in millimeters: where the array axes of most cases point, such as ``"SPL"``.
    one_orientation : bool
        Whether those of all cases do.
    nonzero : float
        Median part of the volume inside the bounding box of the pixels that are not 0.
    modality : str
        What the files, or else the intensities, say: ``"CT"``, ``"MR"`` or empty.
    highest_label : int
        Of all cases.
    sided_axes : tuple of int
        Axes along which two classes always lie on the same sides of each other (left and right
        kidney): a mirrored image would be one that does not exist.
    """

    cases: int
    dims: int
    channels: tuple[int, ...]
    size: tuple[int, ...]
    smallest: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    intensity: dict[str, float]
    labels: int
    objects: int
    object_diameter: tuple[float, float, float]
    foreground: float
    class_fractions: dict[int, float]
    groups: dict[str, int]
    foreground_intensity: dict[str, float] = field(default_factory=dict)
    fine_spacing: tuple[float, ...] = ()
    orientation: str = ""
    one_orientation: bool = True
    nonzero: float = 1.0
    modality: str = ""
    highest_label: int = 1
    sided_axes: tuple[int, ...] = ()


def make_fingerprint(
    cases: Sequence[Case], classes: Sequence[int] = (), facts: list[CaseFacts] | None = None
) -> Fingerprint:
    """Measure the training cases (at most 200 of them, evenly chosen) and check all of them.

    Parameters
    ----------
    cases : sequence of Case
        The training part.
    classes : sequence of int, optional
        The labels that may occur; by default any.
    facts : list, optional
        Receives what was measured of each case.

    Raises
    ------
    ImageError
        If 2D and 3D cases are mixed, no case has labels, labels occur that are not in the list, or
        one of the list nowhere.
    InputMismatch
        If the labels of a case do not lie on its image.
    """
    chosen = set(np.linspace(0, len(cases) - 1, min(len(cases), _MAX_CASES)).astype(int).tolist())
    rows: list[CaseFacts] = []
    for number, case in enumerate(cases):
        if number in chosen:
            rows.append(measure(case))
            check_listed(case, rows[-1].labels, classes)
        else:
            check_labels([case], classes)
    if len({len(row.shape) for row in rows}) > 1:
        by_dims = {len(row.shape): row.image for row in rows}
        raise ImageError(
            f"The data set mixes 2D and 3D images ({by_dims[2]} and {by_dims[3]}, for example).",
            "Train one model for each.",
        )
    present = {label for row in rows for label in row.labels}
    if not present:
        raise ImageError(
            "No case of the data set has any label: all foregrounds are empty.",
            "Check that the label files are label images.",
        )
    missing = sorted(set(classes) - present) if len(rows) == len(cases) else []
    if missing:
        raise ImageError(
            f"The classes {missing} are in no training case; they cannot be learned.",
            "Take them off the list of classes, or add cases that show them.",
        )
    if facts is not None:
        facts.extend(rows)
    return _summary(_same_unit(rows), cases)


def _same_unit(rows: list[CaseFacts]) -> list[CaseFacts]:
    """Spacings in the first case's unit; in pixels where a case has none."""
    unit = rows[0].unit
    if len({row.unit for row in rows}) == 1:
        return rows
    if any(row.unit == "pixel" for row in rows):
        return [replace(row, unit="pixel", orientation="") for row in rows]
    return [
        replace(row, unit=unit, spacing=tuple(s * _METRES[row.unit] / _METRES[unit] for s in row.spacing))
        for row in rows
    ]


def _turned(row: CaseFacts, orientation: str) -> CaseFacts:
    """The facts with the axes in the order of an orientation."""
    if row.orientation == orientation:
        return row

    def pair(letter: str) -> int:
        return next(k for k, letters in enumerate(_PAIRS) if letter in letters)

    own = [pair(letter) for letter in row.orientation]
    axes = [own.index(pair(letter)) for letter in orientation]
    flips = [row.orientation[axis] != letter for axis, letter in zip(axes, orientation, strict=True)]

    def order(values: Any) -> tuple[Any, ...]:
        return tuple(values[axis] for axis in axes)

    centres = {
        label: tuple(1 - c if flip else c for c, flip in zip(order(centre), flips, strict=True))
        for label, centre in row.centres.items()
    }
    return replace(
        row, shape=order(row.shape), box=order(row.box), spacing=order(row.spacing), centres=centres,
        orientation=orientation,
    )  # fmt: skip


def _summary(rows: list[CaseFacts], cases: Sequence[Case]) -> Fingerprint:
    letters = [row.orientation for row in rows]
    orientation = max(sorted(set(letters)), key=letters.count) if all(letters) else ""
    if orientation:
        rows = [_turned(row, orientation) for row in rows]
    dims = len(rows[0].shape)
    sizes, spacings = [row.shape for row in rows], [row.spacing for row in rows]
    area = np.array([pixels for row in rows for pixels in row.labels.values()])
    spread = np.sqrt(4 * area / np.pi) if dims == 2 else np.cbrt(6 * area / np.pi)
    small, middle, large = np.percentile(spread, (5, 50, 95))
    labels = {label for row in rows for label in row.labels}
    groups: dict[str, int] = {}
    for case in cases:
        groups[case.group] = groups.get(case.group, 0) + 1
    intensity = _intensities([row.pixels for row in rows])
    return Fingerprint(
        cases=len(rows),
        dims=dims,
        channels=tuple(sorted({row.channels for row in rows})),
        size=tuple(int(n) for n in np.median(sizes, axis=0)),
        smallest=tuple(int(n) for n in np.min(sizes, axis=0)),
        spacing=tuple(round(float(s), 6) for s in np.median(spacings, axis=0)),
        unit=rows[0].unit,
        intensity=intensity,
        labels=len(labels),
        objects=int(np.median([len(row.labels) for row in rows])),
        object_diameter=(float(small), float(middle), float(large)),
        foreground=float(np.mean([sum(row.labels.values()) / np.prod(row.shape) for row in rows])),
        class_fractions=_fractions(rows) if len(labels) <= CLASS_LIMIT else {},
        groups=dict(sorted(groups.items())),
        foreground_intensity=_intensities([row.foreground for row in rows]),
        fine_spacing=tuple(round(float(s), 6) for s in np.percentile(spacings, 10, axis=0)),
        orientation=orientation,
        one_orientation=len(set(letters)) == 1,
        nonzero=float(np.median([np.prod(row.box) / np.prod(row.shape) for row in rows])),
        modality=_modality([row.modality for row in rows], intensity["low"]),
        highest_label=max(labels),
        sided_axes=_sided_axes([row.centres for row in rows], dims),
    )


def _intensities(samples: list[np.ndarray]) -> dict[str, float]:
    values = np.concatenate(samples)
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    told = {"low": low, "median": middle, "high": high, "mean": values.mean(), "std": values.std()}
    return {name: float(value) for name, value in told.items()}


def _fractions(rows: list[CaseFacts]) -> dict[int, float]:
    fractions: dict[int, float] = {}
    for row in rows:
        for label, pixels in row.labels.items():
            fractions[label] = fractions.get(label, 0.0) + float(pixels / np.prod(row.shape)) / len(rows)
    return dict(sorted(fractions.items()))


def _modality(told: list[str], low: float) -> str:
    names = set(told)
    if len(names) == 1 and names != {""}:
        return names.pop()
    return "CT" if low < _HOUNSFIELD else ""


def _sided_axes(centres: list[Mapping[int, tuple[float, ...]]], dims: int) -> tuple[int, ...]:
    """Axes along which two classes lie on the same sides in nine of ten cases, and apart."""
    sided = set()
    labels = sorted({label for one in centres for label in one})
    for a, b in itertools.combinations(labels, 2):
        gaps = np.array([np.subtract(one[a], one[b]) for one in centres if a in one and b in one])
        if len(gaps) < _SIDED_CASES:
            continue
        same = np.maximum((gaps > 0).mean(0), (gaps < 0).mean(0)) >= _SIDED_SHARE
        sided.update(np.flatnonzero(same & (np.abs(gaps.mean(0)) > _SIDED_GAP)).tolist())
    return tuple(axis for axis in range(dims) if axis in sided)
