"""Held-out scores for a card: what ``deepbio evaluate`` finds, as rows of one number each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepbio.cases import Case
from deepbio.evaluation import CaseScore, class_means, evaluate, group_scores
from deepbio.events import Listener
from deepbio.options import RunOptions
from deepbio.predict import Model

__all__ = ["average_rows", "held_out"]

Row = dict[str, Any]


def held_out(model: Model, cases: Sequence[Case], data: Path | str, listener: Listener) -> list[Row]:
    """Score a finished package on the held-out cases, and again with test-time mirroring.

    Parameters
    ----------
    model : Model
        The package.
    cases : sequence of Case
        The held-out part.
    data : path
        The data set, for the command that gives the same numbers.
    listener : Listener
        Hears files and tiles.

    Returns
    -------
    list of dict
        Rows with ``split``, ``subset``, ``metric``, ``value``, ``n`` and ``command``.
    """
    command = f"deepbio evaluate {model.card.name} {Path(data).name} --split val"
    rows = _rows(evaluate(model, cases, on_progress=listener), command)
    # of objects it was found to change little, and would take four times as long as all the rest
    if model.card.deepbio.get("mirror") and model.card.classes:
        mirrored = evaluate(model, cases, RunOptions(mirror=True), on_progress=listener)
        last = group_scores(mirrored)[-1]
        rows.append(_row("all", "Dice with mirroring", last.dice, last.images, f"{command} --mirror"))
    return rows


def _rows(scores: Sequence[CaseScore], command: str) -> list[Row]:
    groups = list(reversed(group_scores(scores)))  # all of them first: lists of models show one number
    if not any(one.classes for one in scores):
        return [
            _row(group.group, metric, value, group.images, command)
            for group in groups
            for metric, value in (
                ("AP at IoU 0.5", group.ap50),
                ("mean AP at IoU 0.5-0.9", group.ap),
                ("Dice", group.dice),
            )
        ]
    rows = [_row(group.group, "Dice", group.dice, group.images, command) for group in groups]
    for mean in class_means(scores):
        name = mean.name or f"class {mean.label}"
        rows += [
            _row(mean.group, f"Dice, {name}", mean.dice, mean.images, command),
            _row(mean.group, f"HD95 in {mean.unit}, {name}", mean.hd95, mean.images - mean.missed, command),
            _row(
                mean.group,
                f"NSD at {mean.tolerance:g} {mean.unit}, {name}",
                mean.nsd,
                mean.images,
                command,
            ),
        ]
    return [row for row in rows if not math.isnan(row["value"])]


def _row(subset: str, metric: str, value: float, n: int, command: str) -> Row:
    return {
        "split": "val",
        "subset": subset,
        "metric": metric,
        "value": round(value, 4),
        "n": n,
        "command": command,
    }


def average_rows(folds: Sequence[Sequence[Row]], command: str) -> list[Row]:
    """Out-of-fold scores: each case counts once, in the fold that it was held out of.

    Parameters
    ----------
    folds : sequence of list of dict
        The rows of each fold's own card.
    command : str
        What trains the folds.

    Examples
    --------
    >>> one = {"split": "val", "subset": "all", "metric": "Dice", "value": 0.9, "n": 3, "command": ""}
    >>> average_rows([[one], [{**one, "value": 0.8, "n": 1}]], "")[0]["value"]
    0.875
    """
    found: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for rows in folds:
        for row in rows:
            found.setdefault((row["subset"], row["metric"]), []).append((row["value"], row["n"]))
    split = f"cross-validation ({len(folds)} folds)"
    result = []
    for (subset, metric), parts in found.items():
        n = sum(count for _, count in parts)
        if n:
            value = sum(value * count for value, count in parts) / n
            result.append({**_row(subset, metric, value, n, command), "split": split})
    return result
