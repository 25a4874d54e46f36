"""How well a model does on images whose labels are known, per image and per group of images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.errors import ImageError, InputMismatch
from deepbio.events import Listener, Progress, silent
from deepbio.io import read, read_labels
from deepbio.metrics import IOU_THRESHOLDS, average_precision, dice
from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.cases import Case
    from deepbio.predict import Model

__all__ = ["CaseScore", "GroupScore", "choose_split", "evaluate", "group_scores"]


@dataclass(frozen=True)
class CaseScore:
    """How one image was segmented.

    Attributes
    ----------
    image, group, split : str
        Which image, of which kind, from which part of the data.
    ap50 : float
        Average precision of objects, TP / (TP + FP + FN), at intersection over union 0.5.
    ap : float
        Its mean over the thresholds 0.5, 0.55 ... 0.9.
    dice : float
        Dice coefficient: of the foreground for objects, the mean over classes for classes; NaN
        where both images are empty.
    objects, found : int
        Different labels in the truth and in the result.
    seconds : float
        Wall time of the model.
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


def choose_split(cases: Sequence[Case], split: str) -> list[Case]:
    """Take the cases of one part of a data set, or all of them for ``"all"``.

    Raises
    ------
    ImageError
        If no case belongs to that part.
    """
    chosen = [case for case in cases if split in ("all", case.split)]
    if not chosen:
        parts = sorted({case.split or "(none)" for case in cases})
        raise ImageError(
            f"No case is in the part {split!r}; the data set has {', '.join(parts)}.",
            "Choose one with --split, or all.",
        )
    return chosen


def evaluate(
    model: Model, cases: Iterable[Case], options: RunOptions | None = None, *, on_progress: Listener = silent
) -> list[CaseScore]:
    """Run a model on cases and compare with their labels.

    Parameters
    ----------
    model : Model
        Gives labels.
    cases : iterable of Case
        Images and their labels.
    options : RunOptions, optional
        How it is run.
    on_progress : Listener
        Hears the stage ``"files"`` and those of each run.

    Raises
    ------
    ImageError
        If a file cannot be read.
    InputMismatch
        If the labels of a case do not lie on its image's grid, or the model gives no labels.
    """
    cases = list(cases)
    options = (options or RunOptions()).replace(output=("labels",))
    scores = []
    start = time.perf_counter()
    for number, case in enumerate(cases):
        eta = (time.perf_counter() - start) / number * (len(cases) - number) if number else None
        on_progress(Progress("files", number, len(cases), eta, case.image.name))
        scores.append(_score(model, case, options, on_progress))
    on_progress(Progress("files", len(cases), len(cases), 0.0))
    return scores


def _score(model: Model, case: Case, options: RunOptions, on_progress: Listener) -> CaseScore:
    truth = read_labels(case.labels).numpy()
    start = time.perf_counter()
    result = model.run(read(case.image), options, on_progress=on_progress)
    seconds = time.perf_counter() - start
    if result.labels is None:
        raise InputMismatch(f"The model {model.card.name!r} gives no labels to compare.")
    found = result.labels.numpy()
    if truth.shape != found.shape:
        raise InputMismatch(
            f"'{case.labels}' has the shape {truth.shape}, the result for '{case.image}' {found.shape}.",
            "Labels must be as large as their image.",
        )
    precision = average_precision(truth, found, IOU_THRESHOLDS)
    if model.card.classes:
        per_class = dice(truth, found, sorted(model.card.classes))
        overlap = float(_mean(per_class.values()))
    else:
        overlap = dice((truth > 0).astype(int), (found > 0).astype(int), [1])[1]
    return CaseScore(
        image=case.image.name,
        group=case.group,
        split=case.split,
        ap50=float(precision[0]),
        ap=float(precision.mean()),
        dice=overlap,
        objects=int(np.count_nonzero(np.unique(truth))),
        found=int(np.count_nonzero(np.unique(found))),
        seconds=round(seconds, 3),
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
    means: dict[str, Any] = {key: _mean(getattr(s, key) for s in scores) for key in ("ap50", "ap", "dice")}
    sums: dict[str, Any] = {
        key: sum(getattr(s, key) for s in scores) for key in ("objects", "found", "seconds")
    }
    return GroupScore(group=name, images=len(scores), **means, **sums)


def _mean(values: Iterable[float]) -> float:
    """The mean of what is a number; NaN where nothing is."""
    numbers = [value for value in values if value == value]
    return sum(numbers) / len(numbers) if numbers else float("nan")
