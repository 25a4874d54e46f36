"""Scores of images and classes, and their means over groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from deepbio.metrics.tracks import TrackScore

__all__ = [
    "CaseScore",
    "ClassMean",
    "ClassScore",
    "GroupScore",
    "card_rows",
    "class_means",
    "group_scores",
    "mean_of",
    "track_scores",
]


class _Row:
    """What one line of scores has in common."""

    def row(self) -> dict[str, Any]:
        """Plain values for a table or JSON; the label stands under ``class``."""
        return {"class" if key == "label" else key: value for key, value in asdict(self).items()}  # type: ignore[call-overload]


@dataclass(frozen=True)
class ClassScore(_Row):
    """How one class was segmented in one image, or in one frame of it.

    Attributes
    ----------
    image, group, split : str
        As in `CaseScore`.
    frame : int or None
        Number of the frame, from 1; None where the image has no time axis.
    label : int
        The class.
    name : str
        Its name; empty where the card has none.
    dice : float
        0 where the class is in truth or result only, NaN where it is in neither.
    hd95 : float
        Hausdorff distance at the 95th percentile, in `unit`; infinite where the class is in truth
        or result only, NaN where it is in neither.
    nsd : float
        Part of both surfaces that agrees within `tolerance`; 0 or NaN as `dice`.
    tolerance : float
        In `unit`.
    unit : str
        ``"mm"``, ``"um"``, or ``"px"`` where neither image nor labels say how large a pixel is.
    volume_truth, volume_found : float
        Size of the class, in `volume_unit`.
    volume_unit : str
        ``"ml"``, ``"um^3"`` or ``"px"``; of 2D images ``"mm^2"``, ``"um^2"`` or ``"px"``.
    """

    image: str
    group: str
    split: str
    frame: int | None
    label: int
    name: str
    dice: float
    hd95: float
    nsd: float
    tolerance: float
    unit: str
    volume_truth: float
    volume_found: float
    volume_unit: str


@dataclass(frozen=True)
class ClassMean(_Row):
    """Means of a class over the images (or frames) of a group (``"all"``: of all groups).

    Attributes
    ----------
    group, label, name, unit, tolerance
        As in `ClassScore`; classes are averaged for each unit by itself.
    images : int
        Images, or frames, where the class is in truth or result.
    missed : int
        Of those the ones where it is in only one of them: their Dice and NSD are 0, and their infinite
        distances are left out of `hd95`.
    dice, hd95, nsd : float
        Means; NaN where there is nothing to average.
    """

    group: str
    label: int
    name: str
    images: int
    missed: int
    dice: float
    hd95: float
    nsd: float
    tolerance: float
    unit: str


@dataclass(frozen=True)
class CaseScore:
    """How one image was segmented.

    Attributes
    ----------
    image, group, split : str
        Which image, of which kind, from which part of the data.
    ap50 : float
        Average precision of objects, TP / (TP + FP + FN), at intersection over union 0.5; NaN for
        models of classes.
    ap : float
        Its mean over the thresholds 0.5, 0.55 ... 0.9.
    dice : float
        Dice coefficient: of the foreground for objects, the mean over classes for classes; NaN
        where both images are empty.
    objects, found : int
        Different labels in the truth and in the result; objects of a movie are those of all its frames.
    seconds : float
        Wall time of the model.
    classes : tuple of ClassScore
        Class by class; empty for models of objects.
    tracks : TrackScore or None
        Of a movie whose objects were followed.
    """

    image: str
    group: str
    split: str
    ap50: float
    ap: float
    dice: float
    objects: int
    found: int
    seconds: float
    classes: tuple[ClassScore, ...] = ()
    tracks: TrackScore | None = None

    def row(self) -> dict[str, Any]:
        """Plain values for a table or JSON, without those of the classes."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("classes", "tracks")}
        return own if self.tracks is None else own | self.tracks.row()


@dataclass(frozen=True)
class GroupScore:
    """Means over the images of a group (``"all"``: of all groups); objects and seconds are sums."""

    group: str
    images: int
    ap50: float
    ap: float
    dice: float
    objects: int
    found: int
    seconds: float


def class_means(scores: Sequence[CaseScore]) -> list[ClassMean]:
    """Average the scores of each class over the images of each group and, last, over all images.

    Examples
    --------
    >>> def score(image, dice, hd95):
    ...     row = ClassScore(image, "", "val", None, 1, "lv", dice, hd95, dice, 1.0, "mm", 2.0, 2.1, "ml")
    ...     return CaseScore(image, "", "val", math.nan, math.nan, dice, 1, 1, 0.1, (row,))
    >>> (mean,) = class_means([score("a.nii", 0.9, 2.0), score("b.nii", 0.0, math.inf)])
    >>> mean.images, mean.missed, mean.dice, mean.hd95
    (2, 1, 0.45, 2.0)
    """
    rows = [row for one in scores for row in one.classes]
    groups = {group: [row for row in rows if row.group == group] for group in sorted({r.group for r in rows})}
    parts = [*groups.items(), ("all", rows)] if len(groups) > 1 else [("all", rows)]
    means = []
    for group, members in parts:
        for label, unit, tolerance in sorted({(row.label, row.unit, row.tolerance) for row in members}):
            chosen = [r for r in members if (r.label, r.unit, r.tolerance) == (label, unit, tolerance)]
            means.append(_class_mean(group or "(none)", chosen))
    return means


def _class_mean(group: str, rows: Sequence[ClassScore]) -> ClassMean:
    """Means over rows of one class and unit."""
    first = rows[0]
    present = [row for row in rows if not math.isnan(row.dice)]
    return ClassMean(
        group=group,
        label=first.label,
        name=first.name,
        images=len(present),
        missed=sum(math.isinf(row.hd95) for row in present),
        dice=mean_of(row.dice for row in present),
        hd95=mean_of(row.hd95 for row in present if math.isfinite(row.hd95)),
        nsd=mean_of(row.nsd for row in present),
        tolerance=first.tolerance,
        unit=first.unit,
    )


def group_scores(scores: Sequence[CaseScore]) -> list[GroupScore]:
    """Average the scores of each group and, last, of all images.

    Examples
    --------
    >>> a = CaseScore("a.png", "fluo", "val", 1.0, 0.8, 0.9, 10, 10, 0.1)
    >>> b = CaseScore("b.png", "he", "val", 0.5, 0.4, 0.7, 4, 6, 0.1)
    >>> [(row.group, row.images, row.ap50) for row in group_scores([a, b])]
    [('fluo', 1, 1.0), ('he', 1, 0.5), ('all', 2, 0.75)]
    """
    groups = {group: [s for s in scores if s.group == group] for group in sorted({s.group for s in scores})}
    rows = [_group(name or "(none)", members) for name, members in groups.items()] if len(groups) > 1 else []
    return [*rows, _group("all", scores)]


def _group(name: str, scores: Sequence[CaseScore]) -> GroupScore:
    means: dict[str, Any] = {key: mean_of(getattr(s, key) for s in scores) for key in ("ap50", "ap", "dice")}
    sums: dict[str, Any] = {
        key: sum(getattr(s, key) for s in scores) for key in ("objects", "found", "seconds")
    }
    return GroupScore(group=name, images=len(scores), **means, **sums)


def track_scores(scores: Sequence[CaseScore]) -> dict[str, TrackScore]:
    """Tracks of the movies of each group and, last, of all, counted together; empty where none were followed."""
    found = [(one.group or "(none)", one.tracks) for one in scores if one.tracks is not None]
    groups: dict[str, TrackScore] = {}
    for name in sorted({group for group, _ in found}):
        members = [tracks for group, tracks in found if group == name]
        groups[name] = sum(members[1:], members[0])
    if not groups:
        return {}
    whole = list(groups.values())
    return {**(groups if len(groups) > 1 else {}), "all": sum(whole[1:], whole[0])}


def card_rows(scores: Sequence[CaseScore], split: str, command: str) -> list[dict[str, Any]]:
    """Scores as they stand on a card, the one to quote first.

    Parameters
    ----------
    scores : sequence of CaseScore
        Of all images of that part of the data.
    split : str
        Which part.
    command : str
        What anybody can type to find the same.

    Returns
    -------
    list of dict
        ``split``, ``subset`` (a group, with the class where there are classes), ``metric``, ``value``,
        ``n`` (images) and ``command``. What cannot be averaged is left out.

    Examples
    --------
    >>> one = CaseScore("a.png", "fluo", "val", 1.0, 0.8, 0.9, 10, 10, 0.1)
    >>> [(row["metric"], row["value"]) for row in card_rows([one], "val", "deepbio evaluate ...")]
    [('AP at IoU 0.5', 1.0), ('mean AP at IoU 0.5-0.9', 0.8), ('Dice', 0.9)]
    """
    found: list[tuple[str, str, float, int]] = []
    for group in group_scores(scores):
        found.append((group.group, "AP at IoU 0.5", group.ap50, group.images))
        found.append((group.group, "mean AP at IoU 0.5-0.9", group.ap, group.images))
        found.append((group.group, "Dice", group.dice, group.images))
    for mean in class_means(scores):
        subset = f"{mean.group}: {mean.name or f'class {mean.label}'}"
        found.append((subset, "Dice", mean.dice, mean.images))
        found.append((subset, f"Hausdorff 95 [{mean.unit}]", mean.hd95, mean.images - mean.missed))
        within = f"surface Dice within {mean.tolerance:g} {mean.unit}"
        found.append((subset, within, mean.nsd, mean.images))
    return [
        {
            "split": split,
            "subset": subset,
            "metric": metric,
            "value": round(value, 4),
            "n": number,
            "command": command,
        }
        for subset, metric, value, number in found
        if not math.isnan(value)
    ]


def mean_of(values: Iterable[float]) -> float:
    """The mean of what is a number; NaN where nothing is."""
    numbers = [value for value in values if value == value]
    return sum(numbers) / len(numbers) if numbers else float("nan")
