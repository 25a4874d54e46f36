"""The first stage of a cascade in training: which model finds the labels that the second stage sees.

A first stage that was cross-validated tells of each case what the fold found that never saw it. One that was not
is better on the cases that it learned from than on new ones, which the second stage then has to be kept from trusting:
:mod:`deepbio.training.spoil`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepbio.cases import Case, Sample, fold_cases
from deepbio.errors import OptionError
from deepbio.events import Listener, Notice
from deepbio.image import Image
from deepbio.io import atomic
from deepbio.library import ModelCard, find_model, read_card
from deepbio.library.store import model_names
from deepbio.options import RunOptions
from deepbio.predict import Model
from deepbio.training.description import Description
from deepbio.training.packaging import input_names

__all__ = ["FirstStage", "check_first_stage", "lasting_name"]

_SPATIAL = "ZYX"
_BEGUN = "first_stage.txt"  # hashes of the weights that a run was begun with


def check_first_stage(name: str, dims: int, channels: int, classes: Sequence[int]) -> ModelCard:
    """The card of a model that another is to refine.

    Parameters
    ----------
    name : str
        As for `deepbio.load_model`.
    dims, channels : int
        Spatial axes and channels of the data.
    classes : sequence of int
        Labels of the classes that may occur; none for objects.

    Raises
    ------
    OptionError
        If it does not segment such volumes into these classes.
    """
    card = find_model(name)
    labels = sorted(card.classes)
    found = f"{card.task or 'segment'} in {card.ndim}D, {len(card.input.channels) or 1} channels, the labels {labels}"
    expected = f"segment in 3D, {channels} channels, the labels {sorted(classes)}"
    if dims != 3 or not classes:
        raise OptionError(
            "A cascade is for classes in volumes; the data set has "
            f"{'objects' if not classes else f'{dims}D images, or is learned slice by slice'}.",
            "Leave 'refine' out.",
        )
    if found != expected or card.first_stage is not None:
        more = ", and is a cascade itself" if card.first_stage is not None else ""
        raise OptionError(
            f"The model {name!r} is for {found}{more}; expected {expected}.",
            "Train the first stage on the same data: --configuration 3d_lowres.",
        )
    return card


def lasting_name(name: str) -> str:
    """The name of a model as it is found from every working directory: in the library, or as a full path."""
    return name if name in model_names() else str(Path(name).resolve())


class FirstStage:
    """What the first stage of a cascade finds in the cases of a data set.

    Parameters
    ----------
    name : str
        The model, as for `deepbio.load_model`.
    cases : sequence of Case
        All cases of the data set.
    folds : int
        Folds of the second stage; 0 for none.
    device : str
        As in RunOptions.

    Raises
    ------
    OptionError
        If the first stage was cross-validated in another number of folds, or on other cases.
    """

    def __init__(self, name: str, cases: Sequence[Case], folds: int, device: str = "auto") -> None:
        self.card, self._device = find_model(name), device
        found = _folds_of(self.card)
        if len(found) != folds:
            raise OptionError(
                f"The model {name!r} has {len(found) or 'no'} folds, the plan to refine it has {folds or 'none'}; "
                "expected the same, so that no case is scored by a network that learned from it.",
                f"Make the plan with --folds {len(found)}." if found else "Leave --folds out.",
            )
        if found:
            _check_cases(self.card, cases)
        self._folds = found
        self._of_case: dict[str, Path] = {}
        for folder, (_, held) in zip(found, fold_cases(cases, folds) if folds else (), strict=True):
            self._of_case |= dict.fromkeys((case.key for case in held), folder)
        self._models: dict[Path, Model] = {}

    def begin(self, work: Path) -> None:
        """Note which first stage a run is begun with.

        Raises
        ------
        OptionError
            If the run in this folder was begun with other weights of it: its networks have learned from those.
        """
        told = "".join(f"{read_card(one).weights_hash}\n" for one in (self.card.root, *self._folds))
        path = work / _BEGUN
        begun = path.read_text(encoding="utf-8") if path.exists() else told
        if begun != told and any(work.glob("**/checkpoint.pt")):
            raise OptionError(
                f"The run in {str(work)!r} was begun with other weights of the first stage '{self.card.name}'.",
                "Choose another output, or delete that folder to start again.",
            )
        with atomic(path) as temporary:
            temporary.write_text(told, encoding="utf-8")

    def package(self, fold: int | None = None) -> Path:
        """The package of the first stage, or of one of its folds."""
        return self.card.root if fold is None else self._folds[fold]

    def named(self, about: Description, channels: int) -> Description:
        """The description with the channels' names of the first stage, which sees the same images.

        Raises
        ------
        OptionError
            If it has other names.
        """
        names = self.card.input.channels
        if about.channels and tuple(about.channels) != names:
            raise OptionError(
                f"The model '{self.card.name}' sees the channels {list(names)}; the description has "
                f"{list(about.channels)}.",
                "Name them in the description as the first stage does, if they are the same.",
            )
        return about if names == input_names(channels) else replace(about, channels=names)

    def tell(self, listener: Listener) -> None:
        """Warn where the first stage has learned from the cases that it is asked about."""
        if not self._folds:
            listener(
                Notice(
                    f"'{self.card.name}' was not cross-validated: on the cases that it learned from it is better than "
                    "on new ones. Train both stages with --folds 5 where you can.",
                    "warning",
                )
            )

    def version(self, case: Case) -> str:
        """Hash of the weights that are asked about a case."""
        return read_card(self._folder(case)).weights_hash

    def labels(self, case: Case, sample: Sample) -> np.ndarray:
        """Labels of a case on its own grid, shape (z, y, x)."""
        folder = self._folder(case)
        if folder not in self._models:
            self._models[folder] = Model(read_card(folder), self._device)
        image = Image(sample.image, f"C{_SPATIAL}", sample.grid)
        labels = self._models[folder].run(image, RunOptions(output=("labels",))).labels
        assert labels is not None, "it was asked for labels"  # noqa: S101
        return np.asarray(labels.array[...])

    def close(self) -> None:
        """Let the networks go."""
        for model in self._models.values():
            model.close()
        self._models.clear()

    def _folder(self, case: Case) -> Path:
        return self._of_case.get(case.key, self.card.root)


def _work_of(card: ModelCard) -> Path:
    root = card.root.resolve()
    return root.with_name(f"{root.name}.training")


def _folds_of(card: ModelCard) -> list[Path]:
    """Packages of the folds that a model was averaged from, as `deepbio train` leaves them beside it."""
    work = _work_of(card)
    count = int(card.deepbio.get("training", {}).get("folds", 0))
    found = [work / f"fold_{number}" / card.root.name for number in range(count)]
    missing = [str(one) for one in found if not one.is_dir()]
    if missing:
        raise OptionError(
            f"The model '{card.name}' has {count} folds; {missing[0]} is not there.",
            "Put its folder .training beside it, or train the first stage again.",
        )
    return found


def _check_cases(card: ModelCard, cases: Sequence[Case]) -> None:
    """Refuse other cases than the first stage was trained on: one more, and all may lie in other folds."""
    path = _work_of(card) / "fingerprint.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            trained = sorted(row["image"] for row in csv.DictReader(file))
    except (OSError, KeyError) as error:
        raise OptionError(
            f"Which cases the folds of '{card.name}' learned from cannot be read from '{path}'.",
            "Put its folder .training beside it, or train the first stage again.",
        ) from error
    present = sorted(case.image.name for case in cases if case.split != "test")
    if present != trained:
        odd = sorted(set(present) ^ set(trained))
        raise OptionError(
            f"The folds of '{card.name}' were made of {len(trained)} cases, the data set has {len(present)}; "
            f"expected the same ones, found these in one of them only: {', '.join(odd[:3]) or 'some names twice'}.",
            "Train the first stage on the same cases: else its folds have seen what they are asked about.",
        )
