"""``train``: from cases to a model package, resumable at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from deepbio.cases import Case, fold_cases, read_cases, split_cases
from deepbio.engine.device import Device, choose_device
from deepbio.errors import OptionError
from deepbio.events import Listener, Notice, silent
from deepbio.library.package import check_place, write_package
from deepbio.networks.unet import UNet
from deepbio.predict import load_model
from deepbio.training.calibrate import Calibration, choose_decoder, choose_largest
from deepbio.training.description import Description, check_description, title_of, with_told
from deepbio.training.facts import CaseFacts, check_labels, gaps_told, write_facts
from deepbio.training.fingerprint import Fingerprint, make_fingerprint
from deepbio.training.fit import fit
from deepbio.training.fitting_data import apart, check_fits
from deepbio.training.folds import Folder, package_ensemble
from deepbio.training.package import Ending, package_content
from deepbio.training.plan import Plan, make_plan, read_plan, write_plan
from deepbio.training.refine import FirstStage
from deepbio.training.scored import held_out
from deepbio.training.settling import settle_plan
from deepbio.training.validate import predict_classes, predict_whole
from deepbio.training.volumes import Volumes
from deepbio.training.wishes import Wishes

__all__ = ["propose_plan", "train"]

_ACCELERATOR_MEMORY, _CPU_MEMORY = 8.0, 1.5  # GB; on a CPU larger patches would take minutes a step


def propose_plan(
    data: Path | str,
    wishes: Wishes | None = None,
    *,
    about: Description | None = None,
    save: Path | None = None,
    on_progress: Listener = silent,
) -> Plan:
    """Measure a data set's training part and plan from it.

    Parameters
    ----------
    data : path
        As in `read_cases`.
    wishes : Wishes, optional
        What the plan is to follow.
    about : Description, optional
        Its classes are the labels that may occur; left and right ones are never mirrored.
    save : Path, optional
        YAML file to write the plan and the fingerprint to, for reading and editing; beside it
        ``fingerprint.csv`` with one row per case.
    on_progress : Listener
        Hears a warning where classes without a list have gaps.

    Returns
    -------
    Plan

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on.
    """
    cases = read_cases(data)
    if about is not None:
        about = with_told(about, Path(data), files=1 + len(cases[0].others))
    planner = _Planner(Path(data), cases, about, on_progress)
    plan, seen = planner.make(wishes)
    if save is not None:
        planner.write(save, plan, seen)
    return plan


@dataclass(frozen=True)
class _Seen:
    """What was measured of a data set, and the memory that plans from it may take."""

    fingerprint: Fingerprint
    cases: Sequence[CaseFacts]
    memory: float | None


@dataclass(frozen=True)
class _Planner:
    """Plans for one data set, as `settle_plan` wants them."""

    data: Path
    cases: Sequence[Case]
    about: Description | None
    listener: Listener
    kind: ClassVar[type[Plan]] = Plan

    def read(self, path: Path) -> Plan:
        return read_plan(path)

    def make(self, wishes: Wishes | None) -> tuple[Plan, _Seen]:
        wishes = _completed(wishes or Wishes(), self.about)
        seen = self._measured(wishes)
        plan = make_plan(seen.fingerprint, wishes)
        if plan.target == "classes" and not wishes.classes:
            told = gaps_told(seen.cases, plan.classes)
            if told:
                self.listener(Notice(told, "warning"))
        return plan, seen

    def check(self, plan: Plan) -> _Seen:
        seen = self._measured(_completed(Wishes(folds=plan.folds), self.about))
        _check_fit(plan, seen.fingerprint)
        return seen

    def write(self, path: Path, plan: Plan, facts: _Seen) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_plan(path, plan, facts.fingerprint, facts.memory, self.data)
        write_facts(path.with_name("fingerprint.csv"), facts.cases)

    def _measured(self, wishes: Wishes) -> _Seen:
        train, val = _parts(self.cases, wishes.folds)
        facts: list[CaseFacts] = []
        seen = make_fingerprint(train, wishes.classes, facts)
        check_labels(val, wishes.classes)
        return _Seen(seen, facts, wishes.memory)


def _check_fit(plan: Plan, seen: Fingerprint) -> None:
    """Refuse a plan that is for other data."""
    channels, classes = max(seen.channels), ""
    grey = channels == 1 and plan.network["arguments"].get("in_channels") == plan.channels  # read as colour
    if plan.target == "classes":
        measured = seen.cases == sum(seen.groups.values())  # else a class may not have been met
        if measured or plan.classes < seen.highest_label:
            classes = apart("number of classes", plan.classes, seen.highest_label)
    check_fits(
        classes,
        "" if grey else apart("channels", plan.channels, channels),
        apart("spatial axes", 3 if plan.per_slice else plan.dims, seen.dims),
    )


def _completed(wishes: Wishes, about: Description | None) -> Wishes:
    memory = wishes.memory
    if memory is None:
        memory = _CPU_MEMORY if choose_device("auto").kind == "cpu" else _ACCELERATOR_MEMORY
    if about is None:
        return replace(wishes, memory=memory)
    classes = wishes.classes or tuple(sorted(about.classes))
    return replace(wishes, memory=memory, classes=classes, sides=wishes.sides or about.sides)


def _parts(cases: Sequence[Case], folds: int) -> tuple[list[Case], list[Case]]:
    """The cases to plan from and those to check only; with folds all are planned from."""
    if not folds:
        return split_cases(cases)
    fold_cases(cases, folds)  # to say at once that there are too many
    return [case for case in cases if case.split != "test"], []


def train(
    data: Path | str,
    output: Path | str,
    *,
    plan: Plan | Wishes | None = None,
    about: Description | None = None,
    device: str = "auto",
    fold: int | None = None,
    ensemble: bool = False,
    on_progress: Listener = silent,
) -> Path:
    """Train a segmentation model and write it as a package.

    Beside the package, in ``NAME.training/``, stand the plan, checkpoints, and the curve as CSV
    and PNG. A run that was stopped goes on from there when it is started again. Where the plan
    says folds, each is trained in ``NAME.training/fold_I`` and packaged there, and their ensemble
    becomes the model.

    Parameters
    ----------
    data : path
        Images and labels: see `read_cases`. Without a column ``split``, 15 % are held out.
    output : path
        Folder of the package; its name is the model's.
    plan : Plan or Wishes, optional
        What to train, or what a new plan is to follow; by default the plan in ``NAME.training/plan.yaml``,
        else `propose_plan`.
    about : Description, optional
        What the card says of the model.
    device : str
        As in RunOptions.
    fold : int, optional
        Train this fold only, counted from 0, and return its package.
    ensemble : bool
        Train nothing; package the folds that are there.
    on_progress : Listener
        Hears steps and decisions; may raise `Cancelled` (what is done is kept).

    Returns
    -------
    Path
        The package, ready for `load_model`.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be used, or the plan is for other classes, channels or axes.
    OptionError
        If another plan was begun in the same folder, there is no such fold, or one is missing.
    CardError
        If the description is not what a card can hold.
    """
    output = Path(output)
    work = output.with_name(f"{output.name}.training")
    about = about or Description(title=title_of(output))
    check_place(output)
    cases = read_cases(data)
    about = with_told(about, Path(data), files=1 + len(cases[0].others))
    check_description(about, "segment")
    path = work / "plan.yaml"
    settled: Plan = settle_plan(path, plan, _Planner(Path(data), cases, about, on_progress))
    on_progress(Notice(f"Plan ({path}):\n{path.read_text(encoding='utf-8')}"))
    _check_folds(settled, work, fold, ensemble=ensemble)
    first = _begun_first(settled, cases, work, device, on_progress)
    about = about if first is None else first.named(about, settled.channels)
    job = _Job(Path(data), settled, about, choose_device(device), work / "cache", on_progress, first)
    if not settled.folds:
        return job.run(split_cases(cases), work, output)
    folders = [Folder(work / f"fold_{i}", work / f"fold_{i}" / output.name) for i in range(settled.folds)]
    parts = fold_cases(cases, settled.folds)
    if not ensemble:
        job.run_folds(parts, folders, fold)
    if fold is not None:
        return folders[fold].package
    ending = Ending(about, job.sample(parts[0][1]), None if first is None else first.package())
    return package_ensemble(folders, settled, ending, output, Path(data))


def _begun_first(
    plan: Plan, cases: Sequence[Case], work: Path, device: str, listener: Listener
) -> FirstStage | None:
    """Of a cascade its first stage, the same as the run was begun with."""
    if not plan.refine:
        return None
    first = FirstStage(plan.refine, cases, plan.folds, device)
    first.begin(work)
    first.tell(listener)
    return first


def _check_folds(plan: Plan, work: Path, fold: int | None, *, ensemble: bool) -> None:
    """Refuse what is asked of folds that the plan does not have."""
    if not plan.folds and (fold is not None or ensemble):
        raise OptionError(
            f"The plan in {str(work)!r} has no folds.", "Make one with --folds 5, or set 'folds' in it."
        )
    if plan.folds and fold is not None and not 0 <= fold < plan.folds:
        raise OptionError(f"There is no fold {fold}; the plan has folds 0 to {plan.folds - 1}.")


class _Job:
    """Training one network and packaging it, for a split or a fold."""

    def __init__(
        self,
        data: Path,
        plan: Plan,
        about: Description,
        device: Device,
        cache: Path,
        listener: Listener,
        first: FirstStage | None,
    ) -> None:
        self.data, self.plan, self.about, self.device = data, plan, about, device
        self.cache, self.listener, self.first = cache, listener, first

    def run(
        self, parts: tuple[Sequence[Case], Sequence[Case]], work: Path, output: Path, fold: int | None = None
    ) -> Path:
        """Fit, calibrate, package and score."""
        train, val = parts
        plan, chosen = self.plan, self.device
        told = f"{len(train)} cases, {len(val)} held out."
        self.listener(Notice(f"Training on {chosen.label} ({chosen.name}): {told}"))
        network, state = fit(
            plan,
            train,
            val,
            work,
            device=chosen.name,
            cache=self.cache,
            first=self.first,
            on_progress=self.listener,
        )
        assert isinstance(network, UNet)  # noqa: S101 - for the type checker
        self.listener(Notice(f"Best score on the val part: {state.best:.3f}."))
        calibration = self._calibrate(network, Volumes(val, plan, self.cache, self.first))
        first = None if self.first is None else self.first.package(fold)
        ending = Ending(self.about, self.sample(val), first)
        with package_content(network, plan, calibration.decoder, ending) as content:
            config = {**content.config, "calibration": calibration.rows}
            content = replace(content, files={"training.png": work / "history.png"}, config=config)
            write_package(output, content, replace=True)
            rows = held_out(load_model(output), val, self.data, self.listener)
            write_package(output, replace(content, scores=rows), replace=True)
        return output

    def run_folds(
        self,
        parts: Sequence[tuple[Sequence[Case], Sequence[Case]]],
        folders: Sequence[Folder],
        only: int | None,
    ) -> None:
        """Train the folds, or only one, that are not finished."""
        for i, (one, part) in enumerate(zip(folders, parts, strict=True)):
            if only in (None, i) and not one.finished:
                self.listener(Notice(f"Fold {i} of {len(folders)}."))
                self.run(part, one.work, one.package, i)

    def sample(self, val: Sequence[Case]) -> np.ndarray:
        """Raw pixels of a held-out image on the working grid, and the guide of a cascade behind them."""
        volume = Volumes(val[:1], self.plan, self.cache, self.first)[0]
        if volume.guide is not None:
            raw = np.asarray(volume.raw[...])
            return np.concatenate((raw, volume.guide[np.newaxis].astype(raw.dtype)))
        if not self.plan.per_slice:
            return np.asarray(volume.raw[...])
        labelled = np.count_nonzero(volume.labels, axis=(1, 2))
        return np.asarray(volume.raw[:, int(labelled.argmax())])

    def _calibrate(self, network: UNet, volumes: Volumes) -> Calibration:
        plan, cpu = self.plan, torch.device("cpu")
        if plan.target == "classes":
            found = ((predict_classes(network, one, plan, cpu), one.labels) for one in volumes)
            result = choose_largest(found, plan.classes)
            told = f"Only the largest component is kept of the classes {list(result.decoder.largest)}"
        else:
            scored: list[Any] = [
                (predict_whole(network, one.image, cpu), one.labels, one.case.group) for one in volumes
            ]
            result = choose_decoder(scored)
            told = f"Objects by {result.decoder.method}"
        self.listener(Notice(f"{told}: {result.rows}"))
        return result
