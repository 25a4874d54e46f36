"""Runs a model on cases and compares what it finds with their labels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepbio.cases import check_grids
from deepbio.errors import ImageError, InputMismatch, OptionError
from deepbio.evaluation.scores import CaseScore, ClassScore, mean_of
from deepbio.events import Listener, Notice, Progress, silent
from deepbio.image import Grid, Image, LabelMap
from deepbio.inputs import Input, channel_files, with_channels
from deepbio.io import read, read_labels
from deepbio.io.ctc import is_ctc, read_ctc
from deepbio.metrics import IOU_THRESHOLDS, dice, match_objects, surface_distances
from deepbio.metrics.overlap import present_labels
from deepbio.metrics.tracks import TrackScore, score_tracks
from deepbio.options import RunOptions
from deepbio.tasks.decoder import decoder_of

if TYPE_CHECKING:
    from deepbio.cases import Case
    from deepbio.predict import Model
    from deepbio.tasks import Result

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
    division_tolerance: int = 1,
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
    division_tolerance : int
        With `track`: frames by which a division may be early or late.
    on_progress : Listener
        Hears the stage ``"files"`` and those of each run.

    Raises
    ------
    ImageError
        If a file cannot be read.
    InputMismatch
        If the labels of a case do not lie on its image's grid, or the model gives no labels.
    OptionError
        If a tolerance is negative.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise OptionError(f"The tolerance is {tolerance}; expected a distance from 0.")
    if division_tolerance < 0:
        raise OptionError(f"The tolerance of divisions is {division_tolerance} frames; expected 0 or more.")
    cases = list(cases)
    options = options or RunOptions()
    options = options.replace(output=("labels", "table") if options.track else ("labels",))
    allowed = _Allowed(tolerance, division_tolerance)
    model.many = model.many or len(cases) > 1
    scores = []
    start = time.perf_counter()
    for number, case in enumerate(cases):
        eta = (time.perf_counter() - start) / number * (len(cases) - number) if number else None
        on_progress(Progress("files", number, len(cases), eta, case.image.name))
        scores.append(_score(model, case, options, allowed, on_progress))
    on_progress(Progress("files", len(cases), len(cases), 0.0))
    return scores


@dataclass(frozen=True)
class _Allowed:
    """What still counts as agreement: a distance of surfaces (None: by the unit), and frames of a division."""

    distance: float | None
    frames: int


def _image_of(case: Case, model: Model) -> Image:
    """The image of a case, from all files of its channels."""
    if case.others:
        return read(case.source)
    return read(with_channels(Input(case.image), channel_files(model.card)).source)


def _score(model: Model, case: Case, options: RunOptions, allowed: _Allowed, listener: Listener) -> CaseScore:
    decoder = decoder_of(model.card, options)
    if decoder is None:
        raise InputMismatch(f"The model {model.card.name!r} gives no labels to compare.")
    image, (truth, parents) = _image_of(case, model), _truth(case.labels)
    _check_places(case, image, truth)
    start = time.perf_counter()
    result = model.run(image, options, on_progress=listener)
    seconds = round(time.perf_counter() - start, 3)
    assert result.labels is not None, "a card that says how to decode gives labels"  # noqa: S101
    true, found = truth.numpy(), result.labels.numpy()
    tracks, counts = None, [len(present_labels(one)) for one in (true, found)]
    if decoder.instances:
        classes: tuple[ClassScore, ...] = ()
        # the objects of a movie are those of each frame, whatever their numbers in the others
        frames = list(zip(true, found, strict=True)) if "T" in truth.axes else [(true, found)]
        precision = _precision(frames)
        counts = [sum(len(present_labels(frame)) for frame in one) for one in zip(*frames, strict=True)]
        if options.track:
            tracks = _follow(case, (true, parents), result, allowed.frames, listener)
        overlap = dice((true > 0).astype(np.uint8), (found > 0).astype(np.uint8), [1])[1]
    else:
        grid = truth.grid if image.grid.unit == "pixel" else image.grid
        names = dict(model.card.classes) or dict.fromkeys(present_labels(true, found), "")
        _tell_strangers(case, set(present_labels(true)) - set(names), listener)
        classes = tuple(_class_scores(case, truth, result.labels, names, grid, allowed.distance))
        precision = np.full(1, np.nan)
        overlap = mean_of(one.dice for one in classes)
    return CaseScore(
        image=case.image.name,
        group=case.group,
        split=case.split,
        ap50=float(precision[0]),
        ap=float(precision.mean()),
        dice=overlap,
        objects=counts[0],
        found=counts[1],
        seconds=seconds,
        classes=classes,
        tracks=tracks,
    )


def _truth(path: Path) -> tuple[LabelMap, dict[int, int] | None]:
    """True labels and, where they are tracks of the Cell Tracking Challenge, what comes from what."""
    return read_ctc(path) if is_ctc(path) else (read_labels(path), None)


def _precision(frames: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Average precision at each threshold, the objects of all frames counted together."""
    first, *others = (match_objects(true, found, IOU_THRESHOLDS) for true, found in frames)
    for other in others:
        first = [one + more for one, more in zip(first, other, strict=True)]
    return np.array([one.precision for one in first])


def _follow(
    case: Case,
    truth: tuple[np.ndarray, dict[int, int] | None],
    result: Result,
    tolerance: int,
    listener: Listener,
) -> TrackScore:
    """Compare the tracks of a result with the true ones."""
    assert result.labels is not None, "a movie was followed"  # noqa: S101
    assert result.table is not None, "its table was asked for"  # noqa: S101
    true, parents = truth
    if parents is None:
        listener(
            Notice(
                f"'{case.labels}' does not say which objects divide: divisions are not scored. Expected a folder as "
                "the Cell Tracking Challenge has it, with man_track.txt.",
                "warning",
            )
        )
    found = None
    if "parent" in result.table.columns:
        pairs = zip(result.table["track"].tolist(), result.table["parent"].tolist(), strict=True)
        found = {track: parent for track, parent in pairs if parent}
    return score_tracks(true, result.labels.numpy(), parents, found, tolerance)


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
