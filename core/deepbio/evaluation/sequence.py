"""How well a model of sequences does: Dice at the labelled frames, and how steady its curves are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.cases.sequence import Clip, SequenceCase, load_clips, read_sequences
from deepbio.errors import ImageError
from deepbio.evaluation.report import Report, score_row
from deepbio.events import Listener, Stage, silent
from deepbio.image import Image, Table
from deepbio.io import read
from deepbio.options import RunOptions
from deepbio.tasks.curve import ejection, jitter
from deepbio.tasks.sequence import following_of

if TYPE_CHECKING:
    from deepbio.predict import Model

__all__ = ["Series", "evaluate_cases", "evaluate_sequences", "score_series"]

_STILL = 2  # frames that a single one is shown as, for a model that needs a movie


@dataclass(frozen=True)
class Series:
    """What is found of one class in one file.

    Attributes
    ----------
    dice : list of float
        Of each slice that is labelled in a labelled frame.
    curve, inside : ndarray
        Size in each frame: of all slices, and of those that have labels in any frame, in `unit`.
    fraction, reference : float
        Ejection fraction between the labelled frames, over the labelled slices: as found and by the labels;
        NaN where fewer than two frames are labelled.
    unit : str
        ``"ml"`` or that of an area.
    """

    dice: list[float]
    curve: np.ndarray
    inside: np.ndarray
    fraction: float
    reference: float
    unit: str


def score_series(found: np.ndarray, truth: np.ndarray, label: int, size: float, unit: str) -> Series:
    """Compare labels through time with those of a few frames.

    Parameters
    ----------
    found : ndarray of int, shape (T, Z, y, x)
        From a model, of sequences or frame by frame.
    truth : ndarray of int, shape (T, Z, y, x)
        -1 in frames that are not labelled.
    label : int
        Of the class.
    size : float
        Of a voxel, in `unit`.
    unit : str
        For people.

    Returns
    -------
    Series
    """
    mine, true = found == label, truth == label
    labelled = [t for t in range(len(truth)) if truth[t].flat[0] >= 0]
    slices = [z for z in range(truth.shape[1]) if true[labelled, z].any()]
    dice = [
        2 * float((mine[t, z] & true[t, z]).sum()) / float(mine[t, z].sum() + true[t, z].sum())
        for t in labelled
        for z in slices
        if true[t, z].any()
    ]
    curve, inside = mine.sum((1, 2, 3)) * size, mine[:, slices].sum((1, 2, 3)) * size
    reference = true[labelled].sum((1, 2, 3)) * size
    fraction = told = math.nan
    if len(labelled) > 1:
        told = ejection(reference)[2]
        fraction = ejection(inside[labelled])[2]
    return Series(dice, curve, inside, fraction, told, unit)


def evaluate_cases(
    model: Model, data: Path, split: str, options: RunOptions, *, on_progress: Listener = silent
) -> Report:
    """Run a model on the sequences of a part of a data set.

    Parameters
    ----------
    model : Model
        Of the task ``sequence``.
    data : path
        As in `deepbio.cases.sequence.read_sequences`.
    split : str
        ``"train"``, ``"val"``, ``"test"`` or ``"all"``.
    options : RunOptions
        How it is run.
    on_progress : Listener
        Hears files.

    Returns
    -------
    Report
        Of a segmentation: mean Dice over labelled slices, for files with movies the mean jitter of their curves and
        the mean absolute error of the ejection fraction; its figure shows the curves. Else the accuracy.
    """
    cases = [case for case in read_sequences(data) if split in ("all", case.split)]
    if not cases:
        raise ImageError(f"No sequence is in the part {split!r}.", "Choose one with --split, or all.")
    command = f"deepbio evaluate {model.card.name} {Path(data).name} --split {split}"
    return evaluate_sequences(model, cases, split, options, command=command, on_progress=on_progress)


def evaluate_sequences(
    model: Model,
    cases: Sequence[SequenceCase],
    split: str,
    options: RunOptions,
    *,
    command: str = "",
    on_progress: Listener = silent,
) -> Report:
    """Run a model on sequences; see `evaluate_cases`.

    Parameters
    ----------
    model, split, options, on_progress
        As there.
    cases : sequence of SequenceCase
        At least one.
    command : str
        What gives the same numbers, for the summary.
    """
    stage = Stage(on_progress, "files", len(cases))
    if following_of(model.card).kind != "segment":
        return _classes(model, cases, split, options, command, stage)
    rows: list[dict[str, Any]] = []
    curves: list[tuple[str, Series, Sequence[int]]] = []
    names = model.card.classes or {1: "class_1"}
    for case in cases:
        image = read(case.image)
        clips = load_clips(case, "segment")
        truth = np.stack([_labels(clip) for clip in clips], axis=1)
        found = _found(model, image, options)
        grid = image.grid
        size, unit = math.prod(grid.spacing), f"{grid.unit}^{grid.ndim}"
        if grid.unit == "millimeter" and grid.ndim == 3:
            size, unit = size / 1000, "ml"
        for label, name in names.items():
            series = score_series(found, truth, label, size, unit)
            rows.append(_row(case, name, series, len(truth)))
            if len(truth) > 2:
                curves.append((f"{case.name}, {name}", series, clips[0].labelled))
        stage.step()
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Report(_summary(rows, split, command), Table(columns), _figure(curves) if curves else None)


def _labels(clip: Clip) -> np.ndarray:
    assert clip.labels is not None  # noqa: S101 - the reader saw to it
    return clip.labels


def _found(model: Model, image: Image, options: RunOptions) -> np.ndarray:
    """Labels as (T, Z, y, x); a single frame is shown as a movie that stands still."""
    still = image.size("T") < 2
    if still:
        array = image.numpy() if "T" not in image.axes else image.numpy()[0]
        axes = "T" + image.axes.replace("T", "")
        image = Image(np.stack([array] * _STILL), axes, image.grid, image.channels)
    labels = model.run(image, options.replace(output=("labels",))).labels
    assert labels is not None  # noqa: S101 - asked for
    array = labels.numpy()[: 1 if still else None]
    return array if "Z" in labels.axes else array[:, None]


def _row(case: SequenceCase, name: str, series: Series, frames: int) -> dict[str, Any]:
    movie = frames > 2
    return {
        "image": case.name,
        "group": case.group,
        "class": name,
        "frames": frames,
        "labelled": len(series.dice),
        "dice": float(np.mean(series.dice)) if series.dice else math.nan,
        "jitter": jitter(series.curve) if movie else math.nan,
        "jitter_labelled_slices": jitter(series.inside) if movie else math.nan,
        "ejection_fraction": series.fraction,
        "reference": series.reference,
        "whole_curve": ejection(series.curve)[2] if movie else math.nan,
    }


def _summary(rows: Sequence[Mapping[str, Any]], split: str, command: str) -> list[dict[str, Any]]:
    weights = np.array([row["labelled"] for row in rows], float)
    values = np.array([row["dice"] for row in rows])
    known = weights > 0
    told = [
        score_row(
            split,
            "Dice at labelled frames",
            float(np.average(values[known], weights=weights[known])),
            int(weights.sum()),
            command=command,
        )
    ]
    for metric, found in (
        ("jitter of the curve", [row["jitter"] for row in rows]),
        ("jitter of the curve, labelled slices", [row["jitter_labelled_slices"] for row in rows]),
        (
            "error of the ejection fraction",
            [abs(row["ejection_fraction"] - row["reference"]) for row in rows],
        ),
    ):
        good = [value for value in found if math.isfinite(value)]
        if good:
            told.append(score_row(split, metric, float(np.mean(good)), len(good), command=command))
    return told


def _figure(curves: Sequence[tuple[str, Series, Sequence[int]]]) -> Callable[[Path], None]:
    def draw(path: Path) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5 * min(3, len(curves)), 3.2 * -(-len(curves) // 3)), layout="constrained")
        FigureCanvasAgg(figure)
        for number, (title, series, labelled) in enumerate(curves, start=1):
            axes = figure.add_subplot(-(-len(curves) // 3), min(3, len(curves)), number)
            frames = np.arange(1, len(series.curve) + 1)
            axes.plot(frames, series.curve, color="tab:red", label="all slices")
            axes.plot(frames, series.inside, color="black", label="slices with labels")
            for t in labelled:
                axes.axvline(t + 1, color="tab:grey", linewidth=0.8, linestyle=":")
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("frame")
            axes.set_ylabel(series.unit)
            axes.legend(fontsize=7)
        figure.savefig(path, dpi=120, format="png")

    return draw


def _classes(
    model: Model,
    cases: Sequence[SequenceCase],
    split: str,
    options: RunOptions,
    command: str,
    stage: Stage,
) -> Report:
    """Accuracy of a classifier of frames or sequences."""
    told: dict[str, list[Any]] = {"image": [], "frame": [], "class": [], "found": []}
    for case in cases:
        table = model.run(read(case.image), options.replace(output=("table",))).table
        assert table is not None  # noqa: S101 - asked for
        frames = table["frame"].tolist() if "frame" in table.columns else [0] * len(table)
        for frame, found in zip(frames, table["class"].tolist(), strict=True):
            known = case.classes[frame - 1] if len(case.classes) > 1 and frame else case.classes[0]
            if known:
                for name, value in zip(told, (case.name, frame, known, found), strict=True):
                    told[name].append(value)
        stage.step()
    true, found = np.array(told["class"]), np.array(told["found"])
    recalls = [float((found[true == name] == name).mean()) for name in np.unique(true)]
    rows = [
        score_row(split, "accuracy", float((true == found).mean()), len(true), command=command),
        score_row(split, "balanced accuracy", float(np.mean(recalls)), len(true), command=command),
    ]
    return Report(rows, Table({name: np.array(values) for name, values in told.items()}))
