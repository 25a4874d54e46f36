"""``deepbio evaluate``: a model against images whose labels are known."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from deepbio.cli.common import JsonOption, command, out, print_json
from deepbio.cli.groups import ModelArgument, QuietOption
from deepbio.cli.listeners import listening
from deepbio.cli.options import with_options, with_run_options
from deepbio.cli.report import evaluate_family
from deepbio.errors import OptionError, OutputError
from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.evaluation import CaseScore, ClassMean, GroupScore

DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder with images/ and labels/, or a CSV with the columns image,label[,split,group]; "
        "what other tasks take: docs/train.md.",
        show_default=False,
    ),
]
MANY = 12  # images, beyond which only the worst are printed


@dataclass(frozen=True)
class LimitOptions:
    """What still counts as agreement."""

    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="MM",
            help="Distance of surfaces that counts as agreement, in the unit of the images; "
            "default: 1, or 2 pixels where no unit is known.",
        ),
    ] = None
    division_tolerance: Annotated[
        int,
        typer.Option(
            "--division-tolerance", metavar="FRAMES", help="With --track: how far off a division may be."
        ),
    ] = 1


@command
@with_options("limits", LimitOptions)
@with_run_options
def evaluate(
    model: ModelArgument,
    data: DataArgument,
    split: Annotated[str, typer.Option("--split", help="Part of the data: train, val, test or all.")] = "all",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="CSV file for the scores; of classes also a box plot (PNG) beside it."
        ),
    ] = None,
    *,
    limits: LimitOptions,
    json: JsonOption = False,
    quiet: QuietOption = False,
    options: RunOptions,
) -> None:
    """Run MODEL on images whose truth is known, and score it.

    Of models of classes: Dice, the Hausdorff distance at the 95th percentile and the normalised
    surface distance (part of the surfaces that agrees within the tolerance), in physical units.

    Of models of objects: AP is the average precision, TP / (TP + FP + FN), one prediction to one
    object, as in the 2018 Data Science Bowl: at intersection over union 0.5, and its mean from 0.5 to 0.9.
    With --track also precision and recall of the links between frames and of divisions.

    Models of other tasks have measures of their own: see the documentation of each.
    """
    from deepbio.cases import read_cases
    from deepbio.evaluation import choose_split
    from deepbio.evaluation import evaluate as score
    from deepbio.predict import load_model

    if output is not None:
        _check_output(output)
    loaded = load_model(model, device=options.device)
    if loaded.card.task not in ("", "segment"):
        if limits.tolerance is not None:
            raise OptionError("--tolerance is for models that segment.", "Leave it out.")
        evaluate_family(loaded, data, split, options, output, json=json, quiet=quiet)
        return
    cases = choose_split(read_cases(data), split)
    with listening(json=json, quiet=quiet) as listener:
        scores = score(loaded, cases, options, **asdict(limits), on_progress=listener)
    written = []
    if output is not None:
        title = f"{loaded.card.name} on {data.name}, {split}: {_counted(len(scores), 'image')}"
        written = _write(output, scores, title)
    if json:
        _print_json(scores)
    elif not quiet:
        _print_tables(scores)
        if written:
            out.print(f"Scores: {', '.join(map(str, written))}")


def _check_output(path: Path) -> None:
    """Refuse, before the models run, what could not be written at the end."""
    if path.suffix.lower() != ".csv":
        raise OptionError(f"The scores are written as CSV; '{path}' ends in {path.suffix!r}.", "Use .csv.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder '{path.parent}' does not exist.", "Make it first.")


def _write(path: Path, scores: Sequence[CaseScore], title: str) -> list[Path]:
    """Write the CSV: a row for each image and class, or for each image of a model of objects."""
    from deepbio.io import atomic

    classes = [row for one in scores for row in one.classes]
    rows = [row.row() for row in classes] or [one.row() for one in scores]
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if not classes:
        return [path]
    picture = path.with_suffix(".png")
    with atomic(picture) as temporary:
        _picture(scores, title).save(temporary)
    return [path, picture]


def _picture(scores: Sequence[CaseScore], title: str) -> Any:
    """Box plots of Dice and Hausdorff distance, one row for each class."""
    from deepbio.render import Panel, box_plot

    rows = [row for one in scores for row in one.classes]
    overlap: dict[str, list[float]] = {}
    for row in rows:
        overlap.setdefault(_class_name(row.label, row.name), []).append(row.dice)
    panels = [Panel("Dice", overlap, high=1.0)]
    for unit in sorted({row.unit for row in rows}):
        distance: dict[str, list[float]] = {name: [] for name in overlap}
        for row in rows:
            if row.unit == unit:
                distance[_class_name(row.label, row.name)].append(row.hd95)
        panels.append(Panel(f"Hausdorff 95 [{unit}]", distance, low=0.0))
    return box_plot(panels, title=title)


def _class_name(label: int, name: str) -> str:
    return name or f"class {label}"


def _print_json(scores: Sequence[CaseScore]) -> None:
    from deepbio.evaluation import class_means, group_scores, track_scores

    for one in scores:
        print_json({"event": "score", **one.row(), "classes": [row.row() for row in one.classes]})
    told = {"groups": [asdict(group) for group in group_scores(scores)]}
    told["classes"] = [mean.row() for mean in class_means(scores)]
    told["tracks"] = [{"group": group, **one.row()} for group, one in track_scores(scores).items()]
    print_json({"event": "summary", **told})


def _print_tables(scores: Sequence[CaseScore]) -> None:
    from deepbio.evaluation import class_means, group_scores

    means = class_means(scores)
    _print_images(scores, by_class=bool(means))
    _print_groups(group_scores(scores), by_class=bool(means))
    if means:
        _print_classes(means)
    _print_tracks(scores)


def _print_images(scores: Sequence[CaseScore], *, by_class: bool) -> None:
    """The worst images."""
    shown = sorted(scores, key=lambda one: _worst_first(one.dice if by_class else one.ap))[:MANY]
    title = "Images" if len(scores) <= MANY else f"The {MANY} worst of {len(scores)} images"
    table = _table(title, ("image", "group"), _columns(by_class=by_class))
    for one in shown:
        table.add_row(one.image, one.group, *_numbers(one, by_class=by_class))
    out.print(table, soft_wrap=False)


def _worst_first(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _print_groups(groups: Sequence[GroupScore], *, by_class: bool) -> None:
    table = _table("Means", ("group", "images"), _columns(by_class=by_class))
    for group in groups:
        table.add_row(group.group, str(group.images), *_numbers(group, by_class=by_class))
    out.print(table, soft_wrap=False)


def _print_classes(means: Sequence[ClassMean]) -> None:
    columns = ("images", "Dice", "HD 95", "NSD", "within", "missed")
    table = _table("Means of each class", ("group", "class"), columns)
    for mean in means:
        numbers = f"{mean.dice:.3f}", f"{mean.hd95:.2f} {mean.unit}", f"{mean.nsd:.3f}"
        within = f"{mean.tolerance:g} {mean.unit}"
        name = _class_name(mean.label, mean.name)
        table.add_row(mean.group, name, str(mean.images), *numbers, within, str(mean.missed))
    out.print(table, soft_wrap=False)


def _print_tracks(scores: Sequence[CaseScore]) -> None:
    from deepbio.evaluation import track_scores

    groups = track_scores(scores)
    if not groups:
        return
    title = f"Tracks; divisions within {_counted(groups['all'].tolerance, 'frame')}"
    table = _table(title, ("group", "of"), ("true", "found", "right", "precision", "recall", "F1"))
    for group, one in groups.items():
        for name, counts in (("links", one.links), ("divisions", one.divisions)):
            if counts is not None:
                numbers = map(str, (counts.true, counts.found, counts.right))
                parts = (f"{part:.3f}" for part in (counts.precision, counts.recall, counts.f1))
                table.add_row(group, name, *numbers, *parts)
    out.print(table, soft_wrap=False)


def _columns(*, by_class: bool) -> tuple[str, ...]:
    return (
        ("Dice", "seconds") if by_class else ("AP 0.5", "AP 0.5:0.9", "Dice", "objects", "found", "seconds")
    )


def _table(title: str, first: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
    for name in first:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _numbers(row: CaseScore | GroupScore, *, by_class: bool) -> tuple[str, ...]:
    if by_class:
        return f"{row.dice:.3f}", f"{row.seconds:.1f}"
    scores = (f"{value:.3f}" for value in (row.ap50, row.ap, row.dice))
    return (*scores, str(row.objects), str(row.found), f"{row.seconds:.1f}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("evaluate")(evaluate)
