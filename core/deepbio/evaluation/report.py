"""What an evaluation of a model of any family but segmentation comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepbio.image import Table

__all__ = ["Report", "score_row"]


@dataclass(frozen=True)
class Report:
    """Scores of a model on cases whose truth is known.

    Attributes
    ----------
    summary : sequence of mapping
        One number each, as on cards: ``split``, ``subset``, ``metric``, ``value``, ``n`` and
        ``command``; the most telling first.
    table : Table
        One row for each case.
    figure : callable, optional
        Writes a picture of the scores to a path, as PNG.
    """

    summary: Sequence[Mapping[str, Any]]
    table: Table
    figure: Callable[[Path], None] | None = None


def score_row(
    split: str, metric: str, value: float, n: int, *, subset: str = "all", command: str = ""
) -> dict[str, Any]:
    """One number of a summary.

    Examples
    --------
    >>> score_row("val", "accuracy", 0.98765, 640)["value"]
    0.9877
    """
    return {
        "split": split,
        "subset": subset,
        "metric": metric,
        "value": round(float(value), 4),
        "n": n,
        "command": command,
    }
