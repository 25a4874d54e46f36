"""How well a classifier does on images whose class is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio.cases.classify import ClassCase, load_image, read_class_cases
from deepbio.errors import ImageError, InputMismatch
from deepbio.evaluation.report import Report, score_row
from deepbio.events import Listener, Stage, silent
from deepbio.image import Table
from deepbio.metrics.classes import area_under_curve, calibration_error, confusion
from deepbio.options import RunOptions
from deepbio.tasks.classify import names_of

if TYPE_CHECKING:
    from deepbio.predict import Model

__all__ = ["Answers", "class_rows", "evaluate_cases", "score_cases"]


@dataclass(frozen=True)
class Answers:
    """What a model said of cases, and what they are.

    Attributes
    ----------
    names : tuple of str
        Of the classes.
    cases : tuple of str
        Names of the cases.
    truth : ndarray of int, shape (N,)
        Their classes, from 0.
    probabilities : ndarray of float, shape (N, K)
        What the model said.
    """

    names: tuple[str, ...]
    cases: tuple[str, ...]
    truth: np.ndarray
    probabilities: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """The likeliest class of each case."""
        return np.asarray(self.probabilities.argmax(1))

    @property
    def matrix(self) -> np.ndarray:
        """How often each class (rows) was taken for each (columns)."""
        return confusion(self.truth, self.found, len(self.names))


def evaluate_cases(
    model: Model, data: Path, split: str, options: RunOptions, *, on_progress: Listener = silent
) -> Report:
    """Run a classifier on the cases of one part of a data set and compare with their classes.

    Parameters
    ----------
    model : Model
        A classifier.
    data : path
        As in `read_class_cases`.
    split : str
        ``"train"``, ``"val"``, ``"test"`` or ``"all"``.
    options : RunOptions
        How it is run.
    on_progress : Listener
        Hears each image.

    Returns
    -------
    Report
        Accuracy, balanced accuracy (the mean of the classes' sensitivities), area under the ROC curve
        (of each class against the rest, and their mean), expected calibration error; then
        sensitivity and precision of each class. The figure is the confusion matrix and the
        reliability diagram.

    Raises
    ------
    ImageError
        If no case belongs to that part, or a file cannot be read.
    InputMismatch
        If a case is of a class that the model does not know.
    """
    cases = read_class_cases(data)
    chosen = [case for case in cases if split in ("all", case.split)]
    if not chosen:
        parts = sorted({case.split or "(none)" for case in cases})
        raise ImageError(
            f"No case is in the part {split!r}; the data set has {', '.join(parts)}.",
            "Choose one with --split, or all.",
        )
    answers = score_cases(model, chosen, options, on_progress=on_progress)
    command = f"deepbio evaluate {model.card.name} {data.name} --split {split}"
    title = f"{model.card.name} on {data.name}, {split}: {len(chosen)} images"

    def draw(path: Path) -> None:
        from deepbio.render.confusion import draw_confusion

        draw_confusion(answers.matrix, answers.names, answers.truth, answers.probabilities, title).save(
            path, format="PNG"
        )

    return Report(class_rows(answers, split, command), _table(answers), draw)


def score_cases(
    model: Model,
    cases: Sequence[ClassCase],
    options: RunOptions | None = None,
    *,
    on_progress: Listener = silent,
) -> Answers:
    """Ask a classifier about cases.

    Raises
    ------
    InputMismatch
        If a case is of a class that the model does not know.
    """
    names = names_of(model.card)
    number = _numbers(model.card.deepbio.get("training", {}), names)
    for case in cases:
        if case.class_name not in number:
            raise InputMismatch(
                f"{str(case.image)!r} is of the class {case.class_name!r}; the model '{model.card.name}' knows "
                f"{', '.join(names)}."
            )
    how = (options or RunOptions()).replace(classify="whole", output=("table",))
    model.many = model.many or len(cases) > 1
    stage = Stage(on_progress, "files", len(cases))
    rows = []
    for case in cases:
        table = model.run(load_image(case), how).table
        assert table is not None, "a classifier always gives a table"  # noqa: S101
        if len(table) != 1:
            raise InputMismatch(
                f"{str(case.image)!r} has {len(table)} frames or slices; the data set has one class for it."
            )
        rows.append([float(table[name][0]) for name in table.columns if name.startswith("p_")])
        stage.step()
    truth = np.array([number[case.class_name] for case in cases], np.int64)
    return Answers(names, tuple(case.name for case in cases), truth, np.array(rows))


def _numbers(training: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Class by name, and by what the training data called it."""
    labels = training.get("labels", names)
    told = labels if len(labels) == len(names) else names
    return {**{str(one): k for k, one in enumerate(told)}, **{name: k for k, name in enumerate(names)}}


def class_rows(answers: Answers, split: str, command: str) -> list[dict[str, Any]]:
    """Scores as rows of a card, the most telling first.

    Examples
    --------
    >>> given = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0]])
    >>> answers = Answers(("a", "b"), ("1", "2", "3"), np.array([0, 0, 1]), given)
    >>> [(row["metric"], row["value"]) for row in class_rows(answers, "val", "")[:3]]
    [('balanced accuracy', 0.75), ('accuracy', 0.6667), ('AUC', 1.0)]
    """
    matrix, truth, given = answers.matrix, answers.truth, answers.probabilities
    count = len(truth)
    with np.errstate(invalid="ignore"):
        sensitivity = matrix.diagonal() / matrix.sum(1)
        precision = matrix.diagonal() / matrix.sum(0)
    areas = [area_under_curve(truth == k, given[:, k]) for k in range(len(answers.names))]

    def row(metric: str, value: float, n: int, subset: str = "all") -> dict[str, Any]:
        return score_row(split, metric, value, n, subset=subset, command=command)

    rows = [
        row("balanced accuracy", _mean(sensitivity), count),
        row("accuracy", float(np.mean(answers.found == truth)), count),
        row("AUC", _mean(areas), count),
        row("calibration error", calibration_error(truth, given), count),
    ]
    for k, name in enumerate(answers.names):
        inside = int(matrix[k].sum())
        rows += [
            row("sensitivity", sensitivity[k], inside, name),
            row("precision", precision[k], int(matrix[:, k].sum()), name),
            row("AUC", areas[k], inside, name),
        ]
    return [one for one in rows if not math.isnan(one["value"])]


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _table(answers: Answers) -> Table:
    """One row for each case."""
    names = np.array(answers.names, dtype=str)
    columns: dict[str, Any] = {
        "case": np.array(answers.cases, dtype=str),
        "truth": names[answers.truth],
        "class": names[answers.found],
        "probability": answers.probabilities.max(1),
    }
    columns |= {f"p_{name.replace(' ', '_')}": answers.probabilities[:, k] for k, name in enumerate(names)}
    return Table(columns)
