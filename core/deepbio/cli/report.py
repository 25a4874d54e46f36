"""A family's report told by ``deepbio evaluate``: the summary printed, the cases as CSV, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from deepbio.cli.common import out, print_json
from deepbio.cli.listeners import listening

if TYPE_CHECKING:
    from deepbio.evaluation import Report
    from deepbio.options import RunOptions
    from deepbio.predict import Model

__all__ = ["evaluate_family"]


def evaluate_family(
    model: Model,
    data: Path,
    split: str,
    options: RunOptions,
    output: Path | None,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Evaluate a model of any family but segmentation, and tell what it comes to."""
    from deepbio.families import family_of

    with listening(json=json, quiet=quiet) as listener:
        report: Report = (
            family_of(model.card.task)
            .load("evaluate")
            .evaluate_cases(model, data, split, options, on_progress=listener)
        )
    written = _write(output, report) if output is not None else []
    if json:
        print_json({"event": "summary", "scores": [dict(row) for row in report.summary]})
        return
    if quiet:
        return
    _print(report)
    if written:
        out.print(f"Scores: {', '.join(map(str, written))}")


def _write(path: Path, report: Report) -> list[Path]:
    """Write the rows of the cases, and the picture beside them where there is one."""
    from deepbio.io import atomic, write

    with atomic(path) as temporary:
        write(temporary, report.table)
    if report.figure is None:
        return [path]
    picture = path.with_suffix(".png")
    with atomic(picture) as temporary:
        report.figure(temporary)
    return [path, picture]


def _print(report: Report) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    subsets = len({row["subset"] for row in report.summary}) > 1
    for name in (*(("subset",) if subsets else ()), "metric"):
        table.add_column(name)
    for name in ("value", "n"):
        table.add_column(name, justify="right")
    for row in report.summary:
        first = (str(row["subset"]),) if subsets else ()
        table.add_row(*first, str(row["metric"]), f"{row['value']:.4g}", str(row["n"]))
    out.print(table, soft_wrap=False)
