"""Runs a model on cases and compares what it finds with their labels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepbio.cases import check_grids
from deepbio.errors import ImageError, InputMismatch, OptionError
from deepbio.evaluation.scores import CaseScore, ClassScore, mean_of
from deepbio.events import Listener, Notice, Progress, silent
from deepbio.image import Grid, Image, LabelMap
from deepbio.inputs import Input, channel_files, with_channels
from deepbio.io import read, read_labels
from deepbio.metrics import IOU_THRESHOLDS, average_precision, dice, surface_distances
from deepbio.metrics.overlap import present_labels
from deepbio.options import RunOptions
from deepbio.tasks.decode import decoder_of

if TYPE_CHECKING:
    from deepbio.cases import Case
    from deepbio.predict import Model

__all__ = ["TOLERANCES", "choose_split", "evaluate"]

TOLERANCES = {"millimeter": 1.0, "micrometer": 1.0, "pixel": 2.0}
"""Distance between surfaces that counts as agreement where none is asked for, in the image's unit."""

_SYMBOLS = {"millimeter": "mm", "micrometer": "um", "pixel": "px"}


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
    model: Model,
    cases: Iterable[Case],
    options: RunOptions | None = None,
    *,
    tolerance: float | None = None,
    on_progress: Listener = silent,
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
    tolerance : float, optional
        Of the normalised surface distance, in the unit of the images; by default `TOLERANCES`.
    on_progress : Listener
        Hears the stage ``"files"`` and those of each run.

    Raises
    ------
    ImageError
        If a file cannot be read.
    InputMismatch
        If the labels of a case do not lie on its image's grid, or the model gives no labels.
    OptionError
        If the tolerance is negative.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise OptionError(f"The tolerance is {tolerance}; expected a distance from 0.")
    cases = list(cases)
    options = (options or RunOptions()).replace(output=("labels",))
    model.many = model.many or len(cases) > 1
    scores = []
    start = time.perf_counter()
    for number, case in enumerate(cases):
        eta = (time.perf_counter() - start) / number * (len(cases) - number) if number else None
        on_progress(Progress("files", number, len(cases), eta, case.image.name))
        scores.append(_score(model, case, options, tolerance, on_progress))
    on_progress(Progress("files", len(cases), len(cases), 0.0))
    return scores


def _score(
    model: Model, case: Case, options: RunOptions, tolerance: float | None, listener: Listener
) -> CaseScore:
    decoder = decoder_of(model.card, options)
    if decoder is None:
        raise InputMismatch(f"The model {model.card.name!r} gives no labels to compare.")
    files = Input(case.image) if case.others else with_channels(Input(case.image), channel_files(model.card))
    image, truth = read(case.source if case.others else files.source), read_labels(case.labels)
    _check_places(case, image, truth)
    start = time.perf_counter()
    result = model.run(image, options, on_progress=listener)
    seconds = round(time.perf_counter() - start, 3)
    assert result.labels is not None, "a card that says how to decode gives labels"  # noqa: S101
    true, found = truth.numpy(), result.labels.numpy()
    if decoder.instances:
        classes: tuple[ClassScore, ...] = ()
        precision = average_precision(true, found, IOU_THRESHOLDS)
        overlap = dice((true > 0).astype(np.uint8), (found > 0).astype(np.uint8), [1])[1]
    else:
        grid = truth.grid if image.grid.unit == "pixel" else image.grid
        names = dict(model.card.classes) or dict.fromkeys(present_labels(true, found), "")
        _tell_strangers(case, set(present_labels(true)) - set(names), listener)
        classes = tuple(_class_scores(case, truth, result.labels, names, grid, tolerance))
        precision = np.full(1, np.nan)
        overlap = mean_of(one.dice for one in classes)
    return CaseScore(
        image=case.image.name,
        group=case.group,
        split=case.split,
        ap50=float(precision[0]),
        ap=float(precision.mean()),
        dice=overlap,
        objects=len(present_labels(true)),
        found=len(present_labels(found)),
        seconds=seconds,
        classes=classes,
    )


def _check_places(case: Case, image: Image, truth: LabelMap) -> None:
    """See, before the model is run, that image and labels have the same frames and lie on one grid."""
    check_grids(case, image.grid, truth.grid)
    frames = [one.shape[0] if one.axes.startswith("T") else 1 for one in (image, truth)]
    if frames[0] != frames[1] or ("T" in image.axes) != ("T" in truth.axes):
        raise InputMismatch(
            f"'{case.image}' has {frames[0]} frames (axes {image.axes}), its labels '{case.labels}' have "
            f"{frames[1]} (axes {truth.axes}).",
            "Labels need one frame for each frame of their image.",
        )


def _tell_strangers(case: Case, labels: set[int], listener: Listener) -> None:
    """Say which labels of the truth are none of the model's classes."""
    if labels:
        listed = ", ".join(map(str, sorted(labels)[:8])) + (", ..." if len(labels) > 8 else "")
        listener(
            Notice(
                f"'{case.labels}' has the labels {listed}, which are no classes of this model: not scored.",
                "warning",
            )
        )


def _class_scores(
    case: Case,
    truth: LabelMap,
    result: LabelMap,
    names: Mapping[int, str],
    grid: Grid,
    tolerance: float | None,
) -> Iterator[ClassScore]:
    """Scores of each class, frame by frame: surfaces do not reach from one frame into the next."""
    timed = "T" in truth.axes
    limit = TOLERANCES[grid.unit] if tolerance is None else tolerance
    size, volume_unit = _pixel_size(grid)
    frames = zip(truth.numpy(), result.numpy(), strict=True) if timed else [(truth.numpy(), result.numpy())]
    for frame, (true, found) in enumerate(frames, start=1):
        overlaps = dice(true, found, list(names))
        for label, distances in surface_distances(true, found, list(names), grid.spacing).items():
            yield ClassScore(
                image=case.image.name,
                group=case.group,
                split=case.split,
                frame=frame if timed else None,
                label=label,
                name=names[label],
                dice=overlaps[label],
                hd95=distances.hausdorff(95),
                nsd=distances.within(limit),
                tolerance=limit,
                unit=_SYMBOLS[grid.unit],
                volume_truth=int(np.count_nonzero(true == label)) * size,
                volume_found=int(np.count_nonzero(found == label)) * size,
                volume_unit=volume_unit,
            )


def _pixel_size(grid: Grid) -> tuple[float, str]:
    """Area or volume of one pixel, and its unit; direction vectors may be other than orthogonal."""
    if grid.unit == "pixel":
        return 1.0, "px"
    size = float(np.prod(grid.spacing)) * abs(float(np.linalg.det(grid.direction)))
    if grid.unit == "millimeter" and grid.ndim == 3:
        return size / 1000, "ml"
    return size, f"{_SYMBOLS[grid.unit]}^{grid.ndim}"
