"""The parts of a result as files: all of them, or none."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepbio import __version__
from deepbio.errors import DeepBioError, OptionError
from deepbio.events import Listener, silent
from deepbio.families import family_of
from deepbio.inputs import BESIDES, Input
from deepbio.io import atomic, check_seg_source, read, write, write_ctc, write_dicom_seg
from deepbio.io.rois import is_hyperstack, write_rois
from deepbio.options import RunOptions
from deepbio.render.explain import heatmap

if TYPE_CHECKING:
    from deepbio.image import Image
    from deepbio.library import ModelCard
    from deepbio.records import Record
    from deepbio.tasks import Result

__all__ = ["asked_for", "check_seg", "join_tables", "needed_for", "save_result", "seg_suffix", "with_saved"]

# A picture of a segmentation shows its labels alone; measuring is then not asked for.
_SHOWN = {"": ("labels",), "segment": ("labels",)}


def save_result(
    result: Result,
    image: Image | None,
    outputs: Mapping[str, Path],
    *,
    record: Record | None = None,
    title: str = "",
    source: Input | None = None,
    card: ModelCard | None = None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Write the parts of a result: all of them, or none.

    Parameters
    ----------
    result : Result
        What a model found.
    image : Image or None
        What it found it in (for the overlay, and for the planes of ROIs).
    outputs : mapping of str to Path
        Where each kind of :data:`SAVES` goes.
    record : Record, optional
        How it came about, and where that goes.
    title : str
        Heading of the overlay.
    source : Input, optional
        The DICOM series of `image`, for the kind ``"seg"``.
    card : ModelCard, optional
        The model, for the names and codes in it.
    turn : callable, optional
        Gives what is entered when all is written under temporary names, and left when all have their own.

    Raises
    ------
    OptionError
        If the model does not give what is to be saved.
    OutputError
        If a file cannot be written; those of the other kinds are then not there either.
    MissingPackage
        If the kind ``"rois"`` is wanted and roifile is not installed.
    """
    with ExitStack() as taken, ExitStack() as files:
        if record is not None:
            # entered first, so renamed last: a record stands for outputs that are there
            text = json.dumps({"deepbio": __version__, **record.facts}, indent=1, default=str)
            files.enter_context(atomic(record.path)).write_text(text + "\n", encoding="utf-8")
        for kind, path in outputs.items():
            is_folder = kind == "ctc" or (kind == "seg" and path.suffix.lower() != ".dcm")
            temporary = files.enter_context(atomic(path, is_folder=is_folder))
            _write_kind(kind, temporary, result, image, title=title, source=source, card=card)
        taken.enter_context(turn())


def _write_kind(
    kind: str,
    path: Path,
    result: Result,
    image: Image | None,
    *,
    title: str,
    source: Input | None,
    card: ModelCard | None,
) -> None:
    """Write a result as one of :data:`SAVES`, as :func:`save_result` has it."""
    if kind == "overlay":
        _write_picture(path, image, result, card, title)
    elif kind == "heatmap":
        _write_heatmap(path, image, result, title)
    elif kind == "rois":
        hyperstack = image is not None and is_hyperstack(image)
        write_rois(path, _part(result, "labels"), hyperstack=hyperstack)
    elif kind == "ctc":
        _write_tracks(path, result)
    elif kind == "seg":
        _write_seg(path, result, source, card)
    else:
        write(path, _part(result, kind))


def check_seg(file: Input, on_progress: Listener = silent) -> None:
    """Find out before the work whether an input's labels can become a DICOM segmentation.

    What the user should know of it is told to `on_progress`.

    Raises
    ------
    OptionError
        If the input is not DICOM.
    ImageError
        If its series lacks what a segmentation must refer to.
    MissingPackage
        If highdicom is not installed.
    """
    if not file.is_dicom:
        raise OptionError(
            f"'{file}' is not DICOM: its labels cannot become a DICOM segmentation.",
            "Leave 'seg' out of --save.",
        )
    check_seg_source(file.path, file.series, on_progress)


def seg_suffix(file: Input) -> str:
    """``".dcm"``, or nothing where the segmentations of a time series become a folder with a file for each time."""
    try:
        if file.is_dicom and "T" in read(file.path, lazy=True, series=file.series).axes:
            return ""
    except DeepBioError:
        pass  # it is told when its turn comes
    return ".dcm"


def _write_seg(path: Path, result: Result, source: Input | None, card: ModelCard | None) -> None:
    if source is None:
        raise OptionError("A DICOM segmentation needs the series that it belongs to.", "Name the source.")
    segments = card.deepbio.get("classes") if card is not None else None
    write_dicom_seg(
        path,
        _part(result, "labels"),
        source.path,
        segments,
        series=source.series,
        model=card.name if card is not None else "",
        version=card.version if card is not None else "",
    )


def _write_tracks(path: Path, result: Result) -> None:
    table = result.table
    if table is None or "track" not in table.columns:
        raise OptionError(
            "There are no tracks to save.", "Run a model of objects on a movie with track (--track)."
        )
    told = table["parent"] if "parent" in table.columns else np.zeros(len(table), int)
    parents = {int(track): int(parent) for track, parent in zip(table["track"], told, strict=True) if parent}
    write_ctc(path, _part(result, "labels"), parents)


def _part(result: Result, kind: str) -> Any:
    part = getattr(result, kind)
    if part is None:
        raise OptionError(f"This model gives no {kind}.", "Ask for something else with --save.")
    return part


def _write_heatmap(path: Path, image: Image | None, result: Result, title: str) -> None:
    if image is None:
        raise OptionError("There is no image to lay a map on.", "Leave 'heatmap' out of --save.")
    heatmap(image, result.explanation, result.uncertainty, title=title).save(path, format="PNG")


def _write_picture(
    path: Path, image: Image | None, result: Result, card: ModelCard | None, title: str
) -> None:
    draw = family_of(card.task if card is not None else "").load("picture")
    draw(image, result, card, title).save(path, format="PNG")


def join_tables(path: Path, parts: Sequence[tuple[str, Path]]) -> None:
    """Write tables as one, with what each is of in front; those with other columns than the first are left out.

    Parameters
    ----------
    path : Path
        Where the CSV goes.
    parts : sequence of (str, Path)
        What goes under ``file``, and a CSV; one that is not there is left out.
    """
    header: list[str] | None = None
    with (
        atomic(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        for name, table in parts:
            if not table.exists():
                continue
            with table.open(newline="", encoding="utf-8") as one:
                lines = list(csv.reader(one))
            if header is None and lines:
                header = lines[0]
                writer.writerow(["file", *header])
            if lines and lines[0] == header:
                writer.writerows([name, *line] for line in lines[1:])


# --- what is computed for what is saved ---------------------------------------------------------


def needed_for(save: Sequence[str], task: str) -> tuple[str, ...]:
    """What the model has to return for what is to be saved."""
    shown = _SHOWN.get(task, family_of(task).outputs)
    behind = {"rois": ("labels",), "seg": ("labels",), "ctc": ("labels", "table"), "overlay": shown}
    behind |= dict.fromkeys(BESIDES, ())
    # a run gives something; for uncertainty and features it needs objects and rows all the same
    return tuple(dict.fromkeys(part for kind in save for part in behind.get(kind, (kind,)))) or shown


def with_saved(options: RunOptions, save: Sequence[str]) -> RunOptions:
    """The options with what is to be saved asked for."""
    changes = {}
    heatmap = "heatmap" in save and not (options.explain or options.uncertainty)
    if not options.explain and ("explanation" in save or (heatmap and "uncertainty" not in save)):
        changes["explain"] = "gradcam"
    if not options.uncertainty and "uncertainty" in save:
        changes["uncertainty"] = "tta"
    if not options.layer and "features" in save:
        changes["layer"] = "auto"
    return options.replace(**changes) if changes else options


def asked_for(options: RunOptions, card: ModelCard) -> tuple[str, ...]:
    """What is saved because the options ask for it."""
    # a classifier is unsure of a whole image, which is in its table, or of each tile, which is a map
    classes = card.task == "classify" or card.deepbio.get("sequence", {}).get("kind", "segment") != "segment"
    mapped = options.uncertainty and (not classes or options.classify == "tiles")
    heatmap = options.explain or (mapped and not classes)
    asked = {
        "explanation": options.explain, "uncertainty": mapped, "features": options.layer, "heatmap": heatmap
    }  # fmt: skip
    return tuple(kind for kind, wanted in asked.items() if wanted)
