"""``deepbio evaluate``: a model against images whose labels are known."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deepbio.cli.common import JsonOption, command, out, print_json
from deepbio.cli.listeners import listening
from deepbio.cli.options import with_run_options
from deepbio.cli.run import ModelArgument, QuietOption
from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.evaluation import CaseScore, GroupScore

DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder with images/ and labels/, or a CSV with the columns image,label[,split,group].",
        show_default=False,
    ),
]
MANY = 12  # images, beyond which only the worst are printed


@command
@with_run_options
def evaluate(
    model: ModelArgument,
    data: DataArgument,
    split: Annotated[str, typer.Option("--split", help="Part of the data: train, val, test or all.")] = "all",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV file for the scores of each image.")
    ] = None,
    *,
    json: JsonOption = False,
    quiet: QuietOption = False,
    options: RunOptions,
) -> None:
    """Run MODEL on images whose labels are known, and score it.

    AP is the average precision of objects, TP / (TP + FP + FN), one prediction to one object, as
    in the 2018 Data Science Bowl: at intersection over union 0.5, and its mean from 0.5 to 0.9.
    """
    from deepbio.cases import read_cases
    from deepbio.evaluation import choose_split, group_scores
    from deepbio.evaluation import evaluate as score
    from deepbio.predict import load_model

    cases = choose_split(read_cases(data), split)
    loaded = load_model(model, device=options.device)
    with listening(json=json, quiet=quiet) as listener:
        scores = score(loaded, cases, options, on_progress=listener)
    groups = group_scores(scores)
    if output is not None:
        _write_csv(output, scores)
    if json:
        for one in scores:
            print_json({"event": "score", **asdict(one)})
        print_json({"event": "summary", "groups": [asdict(group) for group in groups]})
        return
    if quiet:
        return
    _print_images(scores)
    _print_groups(groups)
    if output is not None:
        out.print(f"Scores of each image: {output}")


def _write_csv(path: Path, scores: Sequence[CaseScore]) -> None:
    from deepbio.io import atomic

    rows = [asdict(one) for one in scores]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _print_images(scores: Sequence[CaseScore]) -> None:
    shown = sorted(scores, key=lambda one: one.ap)[:MANY]
    title = "Images" if len(scores) <= MANY else f"The {MANY} worst of {len(scores)} images"
    table = _table(title, "image", "group")
    for one in shown:
        table.add_row(one.image, one.group, *_numbers(one))
    out.print(table, soft_wrap=False)


def _print_groups(groups: Sequence[GroupScore]) -> None:
    table = _table("Means", "group", "images")
    for group in groups:
        table.add_row(group.group, str(group.images), *_numbers(group))
    out.print(table, soft_wrap=False)


def _table(title: str, *first: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
    for name in first:
        table.add_column(name)
    for name in ("AP 0.5", "AP 0.5:0.9", "Dice", "objects", "found", "seconds"):
        table.add_column(name, justify="right")
    return table


def _numbers(row: CaseScore | GroupScore) -> tuple[str, ...]:
    scores = (f"{value:.3f}" for value in (row.ap50, row.ap, row.dice))
    return (*scores, str(row.objects), str(row.found), f"{row.seconds:.1f}")


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("evaluate")(evaluate)
