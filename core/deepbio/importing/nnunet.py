"""What nnU-Net v2 leaves behind: the plans, the data set's description and the folds, read and checked.

Format: https://github.com/MIC-DKFZ/nnUNet (``documentation/``), and the files that version 2.8 writes; plans of
versions before 2.4 name the network in other words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.choice import ImportChoice

__all__ = [
    "Fold",
    "Training",
    "chosen_folds",
    "find_trainings",
    "first_stage_folder",
    "is_part_of_training",
    "read_training",
]

_FILES = ("plans.json", "dataset.json", "summary.json")
_HOW = "Name the folder that holds plans.json, dataset.json and fold_0."


@dataclass(frozen=True)
class Fold:
    """One network of a cross-validation: ``"0"`` to ``"4"``, or ``"all"``."""

    name: str
    checkpoint: Path


@dataclass(frozen=True)
class Training:
    """A configuration that was trained.

    Attributes
    ----------
    folder : Path
        That holds the files.
    plans, dataset : mapping
        Contents of ``plans.json`` and ``dataset.json``.
    folds : tuple of Fold
        The networks that were chosen, at least one.
    """

    folder: Path
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    folds: tuple[Fold, ...]


def find_trainings(folder: Path, told: Path) -> Path:
    """The one folder with plans in or below another.

    Parameters
    ----------
    folder : Path
        Where to look, at most two folders deeper.
    told : Path
        What the user named, for messages.

    Raises
    ------
    CardError
        If there are several, other than a cascade and its first stage.
    """
    found = sorted(
        {file.parent for depth in ("", "*/", "*/*/") for file in folder.glob(depth + "plans.json")}
    )
    found = [one for one in found if (one / "dataset.json").is_file()]
    if len(found) > 1:  # the first stage of a cascade is a part of it
        stages = {first_stage_folder(one) for one in found}
        found = [one for one in found if one not in stages] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise CardError(f"'{told}' holds plans of nnU-Net without the dataset.json beside them.", _HOW)
    names = ", ".join(str(one.relative_to(folder)) for one in found)
    raise CardError(
        f"'{told}' holds {len(found)} trainings of nnU-Net: {names}.",
        "Name the folder of one." if told.is_dir() else "Unpack it, and name the folder of one.",
    )


def is_part_of_training(name: str) -> bool:
    """Whether the member of a zip of ``nnUNetv2_export_model_to_zip`` is one that is read.

    Examples
    --------
    >>> [is_part_of_training(name) for name in ("a/plans.json", "a/fold_0/checkpoint_best.pth", "a/fold_0/debug.json")]
    [True, True, False]
    """
    path = PurePosixPath(name)
    return path.name in _FILES or (path.suffix == ".pth" and path.name.startswith("checkpoint_"))


def read_training(folder: Path, choice: ImportChoice) -> Training:
    """Read a training's plans and find its folds.

    Raises
    ------
    CardError
        If a file is missing or not what nnU-Net writes, or there is no such fold.
    """
    plans, dataset = (_json(folder / name) for name in ("plans.json", "dataset.json"))
    for name, content, keys in (
        ("plans.json", plans, ("configurations", "dataset_name")),
        ("dataset.json", dataset, ("labels",)),
    ):
        missing = [key for key in keys if key not in content]
        if missing:
            raise CardError(
                f"'{folder / name}' has no {' and no '.join(missing)}: it is not of nnU-Net v2.", _HOW
            )
    return Training(folder, plans, dataset, chosen_folds(folder, choice))


def first_stage_folder(folder: Path) -> Path | None:
    """Where nnU-Net keeps the first stage of a cascade: beside it, under the name of its configuration.

    Parameters
    ----------
    folder : Path
        Of a training, named as nnU-Net names it: ``TRAINER__PLANS__CONFIGURATION``.

    Returns
    -------
    Path or None
        None for what is no cascade. Whether the folder is there is not looked at.

    Raises
    ------
    CardError
        If ``plans.json`` cannot be read.
    """
    start, _, configuration = folder.name.rpartition("__")
    plan = _json(folder / "plans.json").get("configurations", {}).get(configuration)
    previous = plan.get("previous_stage") if isinstance(plan, dict) else None
    return folder.with_name(f"{start}__{previous}") if previous else None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(f"'{path}' cannot be read: {error.strerror or error}.", _HOW) from error
    except (ValueError, RecursionError) as error:
        raise CardError(f"'{path}' is not JSON: {error}", "Get the model again.") from error
    if not isinstance(content, dict):
        raise CardError(
            f"'{path}' holds {type(content).__name__}; expected a JSON object.", "Get the model again."
        )
    return content


def chosen_folds(folder: Path, choice: ImportChoice) -> tuple[Fold, ...]:
    """The folds that were asked for; by default all with the checkpoint, without ``all`` where there are others.

    Raises
    ------
    CardError
        If there is no such fold, or none at all.
    """
    file = f"checkpoint_{choice.checkpoint}.pth"
    found = {one.parent.name.removeprefix("fold_"): one for one in sorted(folder.glob(f"fold_*/{file}"))}
    if not found:
        raise CardError(
            f"'{folder}' has no fold with {file}.",
            "Choose the other checkpoint, or export the model with it."
            if any(folder.glob("fold_*/checkpoint_*.pth"))
            else _HOW,
        )
    missing = [name for name in choice.folds if name not in found]
    if missing:
        raise CardError(f"There is no fold {missing[0]!r} in '{folder}'; it has {', '.join(found)}.")
    names: Sequence[str] = choice.folds or [name for name in found if name != "all"] or list(found)
    return tuple(Fold(name, found[name]) for name in names)
