"""What a generator makes without an image to begin with, as files: all of them, or none."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepbio.errors import InputMismatch, OptionError, OutputError
from deepbio.events import Listener, silent
from deepbio.families import family_of
from deepbio.image import Image, LabelMap
from deepbio.inputs import RECORD
from deepbio.io import write
from deepbio.options import RunOptions
from deepbio.records import Record, make_folder
from deepbio.saving import save_result

if TYPE_CHECKING:
    from deepbio.predict import Model
    from deepbio.tasks import Result

__all__ = ["MADE", "make_files", "write_dataset"]

MADE = ("image", "labels", "table", "overlay", "features", "dataset")
"""What can be saved; ``dataset`` is a folder that ``deepbio train`` takes."""

_SUFFIXES = {"table": ".csv", "features": ".csv", "overlay": ".png", "dataset": ""}


def make_files(
    model: Model,
    output_dir: str | Path,
    options: RunOptions | None = None,
    *,
    save: Sequence[str] = (),
    overwrite: bool = False,
    on_progress: Listener = silent,
) -> dict[str, Path]:
    """Run a generator without an input and save what it makes.

    Parameters
    ----------
    model : Model
        A generator.
    output_dir : str or Path
        Made where it is missing. The files are called after the model: ``nuclei-synth-image.tif``, ...
    options : RunOptions, optional
        ``count``, ``classes`` and ``seed``; ``layer`` for features as well.
    save : sequence of str
        Of `MADE`; by default ``image`` and ``table``, and ``features`` where a layer is named.
    overwrite : bool
        Replace files that are there.
    on_progress : Listener
        Hears batches; may raise `Cancelled`.

    Returns
    -------
    dict of str to Path
        What was written, by kind.

    Raises
    ------
    InputMismatch
        If the model needs an input.
    OptionError
        If `save` has a word that is not of `MADE`.
    OutputError
        If a file is there already, or cannot be written.
    """
    if family_of(model.card.task).name != "generate":
        raise InputMismatch(f"The model '{model.card.name}' needs images; found none.", "Name one or more.")
    options = options or RunOptions()
    kinds = tuple(save) or ("image", "table", *(("features",) if options.layer else ()))
    if "features" in kinds and not options.layer:
        options = options.replace(layer="auto")
    folder, name = Path(output_dir), model.card.name
    paths = _planned(folder, name, kinds, overwrite=overwrite)
    make_folder(folder)  # before the work
    needed = _needed(kinds, masks=model.card.ndim > 0)
    start = time.perf_counter()
    result = model.run(None, options.replace(output=needed), on_progress=on_progress)
    files = {kind: path for kind, path in paths.items() if kind != "dataset"}
    if "dataset" in paths:
        write_dataset(result, paths["dataset"], replace=overwrite)
    facts = {"seconds": round(time.perf_counter() - start, 3), "run": result.record}
    record = Record(folder / f"{name}{RECORD}", facts)
    save_result(result, None, files, record=record, title=model.card.title, card=model.card)
    return paths


def _planned(folder: Path, name: str, kinds: Sequence[str], *, overwrite: bool) -> dict[str, Path]:
    """The files to write, by kind; refused where one is there already or nobody knows its kind."""
    unknown = [kind for kind in kinds if kind not in MADE]
    if unknown:
        raise OptionError(f"Cannot save {', '.join(unknown)} here.", f"Save any of {', '.join(MADE)}.")
    paths = {kind: folder / f"{name}-{kind}{_SUFFIXES.get(kind, '.tif')}" for kind in kinds}
    there = [path for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise OutputError(f"'{there[0]}' exists already.", "Use --overwrite to replace it.")
    return paths


def _needed(kinds: Sequence[str], *, masks: bool) -> tuple[str, ...]:
    behind: dict[str, tuple[str, ...]] = {
        "features": (),
        "overlay": ("image", "table", *(("labels",) if masks else ())),
        "dataset": ("image", "table", *(("labels",) if masks else ())),
    }
    return tuple(dict.fromkeys(part for kind in kinds for part in behind.get(kind, (kind,))))


def write_dataset(result: Result, folder: Path, *, replace: bool = False) -> Path:
    """Write images one by one, as ``deepbio train`` takes them.

    Images of classes go into a folder for each class, images with masks into ``images/`` and
    ``labels/``.

    Raises
    ------
    OutputError
        If the folder exists and may not be replaced, or cannot be written.
    OptionError
        If the result has no images along T with their table.
    """
    image, table = result.image, result.table
    if image is None or table is None or not image.axes.startswith("T"):
        raise OptionError("Only what a generator makes without an image becomes a data set.")
    if folder.exists() and not replace:
        raise OutputError(f"'{folder}' exists already.", "Choose another one, or replace it.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            for number in range(image.size("T")):
                _write_one(made, number, image.take("T", number), result)
            if folder.exists():
                folder.rename(Path(temporary) / ".old")
            made.rename(folder)
    except OSError as error:
        raise OutputError(f"The data set '{folder}' cannot be written: {error.strerror or error}.") from error
    return folder


def _write_one(folder: Path, number: int, image: Image, result: Result) -> None:
    assert result.table is not None  # noqa: S101 - for the type checker
    seed = int(result.table["seed"][number])
    if result.labels is not None:
        targets = [(folder / part / f"made_{seed}_{number + 1:06d}.tif") for part in ("images", "labels")]
        labels = LabelMap(np.ascontiguousarray(result.labels.numpy()[number]), "YX", image.grid)
        for path in targets:
            path.parent.mkdir(parents=True, exist_ok=True)
        write(targets[0], image)
        write(targets[1], labels)
        return
    target = folder / str(result.table["class"][number]) / f"made_{seed:09d}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, image)
