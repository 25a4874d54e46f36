"""``train`` for every family: which one the data is for, the plan on disk, and who does the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import yaml

from deepbio.cases.decathlon import is_decathlon
from deepbio.engine.device import Device, choose_device
from deepbio.errors import OptionError
from deepbio.events import Listener, Notice, silent
from deepbio.families import FAMILIES, family_of
from deepbio.io import atomic
from deepbio.library.package import check_place
from deepbio.options import Options
from deepbio.training import run as segment
from deepbio.training.description import Description, check_description, title_of
from deepbio.training.plan import Plan as SegmentPlan
from deepbio.training.plan import read_plan as read_segment_plan
from deepbio.training.settling import mark_of, settle_plan
from deepbio.training.wishes import Wishes as SegmentWishes

__all__ = ["Job", "Trainer", "guess_task", "propose_plan", "read_plan", "train", "trainer_of", "wishes_of"]


@dataclass(frozen=True)
class Job:
    """Where a family trains.

    Attributes
    ----------
    output : Path
        Folder of the package to write; its name is the model's.
    work : Path
        Folder beside it for checkpoints, the curve and what is cached.
    device : Device
        To compute on.
    listener : Listener
        Hears steps and decisions; may raise `Cancelled`.
    """

    output: Path
    work: Path
    device: Device
    listener: Listener


class Trainer(Protocol):
    """What the training module of a family has (all but segmentation, which has folds besides)."""

    Wishes: type[Options]
    """What a user may ask of a new plan; the rest follows from the data."""
    Plan: type[Any]
    """A frozen dataclass of plain values: everything that decides a run."""

    def matches(self, data: Path) -> bool:
        """Whether a data set looks like one of this family; quick."""

    def make_plan(self, data: Path, wishes: Options, about: Description) -> tuple[Any, dict[str, Any]]:
        """A plan from the data, and the facts (plain values) that it came from, for people."""

    def check_plan(self, data: Path, plan: Any, about: Description) -> dict[str, Any]:
        """The same facts, for a plan that is there already; `InputMismatch` where it is not for this data."""

    def train_plan(self, data: Path, plan: Any, about: Description, job: Job) -> Path:
        """Fit, score and package; go on where a run was stopped."""


def trainer_of(task: str) -> Trainer:
    """The training module of a family other than segmentation.

    Raises
    ------
    OptionError
        If there is no such task.
    """
    module: ModuleType = family_of(task).load("train")
    return cast(Trainer, module)


def wishes_of(task: str, texts: Mapping[str, str]) -> Any:
    """Read what a user asks of a new plan, as on the command line: names and texts.

    Raises
    ------
    OptionError
        If a name is unknown for this task (the nearest are named), or a text cannot be read.
    """
    if task == "segment":
        raise OptionError(
            f"Segmentation has options and no settings; found {', '.join(texts)}.",
            "See deepbio train --help.",
        )
    return trainer_of(task).Wishes.parse(texts)


def guess_task(data: Path | str) -> str:
    """Which family a data set is for, by its columns or folders; segmentation where nothing else fits."""
    if is_decathlon(Path(data)):
        return "segment"
    for name in _others():
        if trainer_of(name).matches(Path(data)):
            return name
    return "segment"


def _others() -> list[str]:
    """The families whose plans are of `Trainer`."""
    names = [name for name in FAMILIES if name != "segment"]
    return sorted(names, key=lambda name: name == "classify")  # a folder of folders may be something closer


def propose_plan(
    data: Path | str,
    wishes: Any = None,
    *,
    task: str = "auto",
    about: Description | None = None,
    save: Path | None = None,
    on_progress: Listener = silent,
) -> Any:
    """Measure a data set's training part and plan from it.

    Parameters
    ----------
    data : path
        As the family's cases are given.
    wishes : Wishes of the family, optional
        What the plan is to follow.
    task : str
        ``"auto"``: see `guess_task`.
    about : Description, optional
        What the card will say.
    save : Path, optional
        YAML file to write the plan and the facts behind it to, for reading and editing.
    on_progress : Listener
        Hears what is to be said of the data.

    Returns
    -------
    Plan
        Of the family.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on.
    """
    task = _settle_task(task, data, None, wishes)
    if task == "segment":
        return segment.propose_plan(data, wishes, about=about, save=save, on_progress=on_progress)
    planner = _Planner(task, Path(data), about or Description())
    plan, facts = planner.make(wishes)
    if save is not None:
        planner.write(save, plan, facts)
    return plan


def train(
    data: Path | str,
    output: Path | str,
    *,
    task: str = "auto",
    plan: Any = None,
    about: Description | None = None,
    device: str = "auto",
    on_progress: Listener = silent,
    **segmentation: Any,
) -> Path:
    """Train a model and write it as a package.

    Beside the package, in ``NAME.training/``, stand the plan, checkpoints, and the curve as CSV
    and PNG. A run that was stopped goes on from there when it is started again.

    Parameters
    ----------
    data : path
        A folder or a CSV; what it holds depends on the family, see docs/train.md.
    output : path
        Folder of the package; its name is the model's.
    task : str
        A key of `deepbio.families.FAMILIES`, or ``"auto"``: see `guess_task`.
    plan : Plan or Wishes of the family, optional
        What to train, or what a new plan is to follow; by default the plan in ``NAME.training/plan.yaml``,
        else `propose_plan`.
    about : Description, optional
        What the card says of the model.
    device : str
        As in RunOptions.
    on_progress : Listener
        Hears steps and decisions; may raise `Cancelled` (what is done is kept).
    **segmentation
        ``fold`` and ``ensemble``: see `deepbio.training.run.train`.

    Returns
    -------
    Path
        The package, ready for `load_model`.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be used, or the plan is for other classes or channels.
    OptionError
        If another plan was begun in the same folder, the plan is of another task, or the task is unknown.
    CardError
        If the description is not what a card can hold.
    """
    output = Path(output)
    work = output.with_name(f"{output.name}.training")
    begun = work / "plan.yaml"
    task = _settle_task(task, data, begun, plan)
    if task == "segment":
        return segment.train(
            data, output, plan=plan, about=about, device=device, on_progress=on_progress, **segmentation
        )
    if any(value not in (None, False) for value in segmentation.values()):
        raise OptionError(f"Folds are for segmentation; the task is {task!r}.", "Leave them out.")
    about = about or Description(title=title_of(output))
    check_place(output)
    check_description(about, task)
    plan = _own_plan(plan, begun, _Planner(task, Path(data), about))
    on_progress(Notice(f"Plan ({begun}):\n{begun.read_text(encoding='utf-8')}"))
    job = Job(output, work, choose_device(device), on_progress)
    on_progress(Notice(f"Training on {job.device.label} ({job.device.name})."))
    return trainer_of(task).train_plan(Path(data), plan, about, job)


def _kinds(task: str) -> tuple[type[Any], type[Any]]:
    return trainer_of(task).Plan, trainer_of(task).Wishes


def _settle_task(task: str, data: Path | str, begun: Path | None, asked: Any) -> str:
    """The family: as asked, else that of the plan or wishes given or begun, else by the data."""
    if task != "auto":
        return family_of(task).name
    if isinstance(asked, SegmentPlan | SegmentWishes):
        return "segment"
    for name in _others() if asked is not None else ():
        if isinstance(asked, _kinds(name)):
            return name
    if begun is not None and begun.exists():
        return _task_of(begun)
    return guess_task(data)


@dataclass(frozen=True)
class _Planner:
    """A family's trainer on one data set, as `settle_plan` wants it."""

    task: str
    data: Path
    about: Description

    @property
    def trainer(self) -> Trainer:
        return trainer_of(self.task)

    @property
    def kind(self) -> type[Any]:
        return self.trainer.Plan

    def read(self, path: Path) -> Any:
        return read_plan(path)

    def make(self, wishes: Any) -> tuple[Any, Mapping[str, Any]]:
        wishes = self.trainer.Wishes() if wishes is None else wishes
        return self.trainer.make_plan(self.data, wishes, self.about)

    def check(self, plan: Any) -> Mapping[str, Any]:
        return self.trainer.check_plan(self.data, plan, self.about)

    def write(self, path: Path, plan: Any, facts: Mapping[str, Any]) -> None:
        values = _plain(asdict(plan))
        content = {
            "task": self.task,
            "plan": values,
            "fingerprint": _plain(dict(facts)),
            "mark": mark_of(values, self.data),
        }
        text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _own_plan(asked: Any, begun: Path, planner: _Planner) -> Any:
    """The plan as asked, begun or made from the data; one of another task is refused."""
    _check_kind(asked, "The plan", planner.task)
    if asked is None and begun.exists():
        _check_kind(read_plan(begun), f"The plan {str(begun)!r}", planner.task)
    return settle_plan(begun, asked, planner)


def _check_kind(asked: Any, name: str, task: str) -> None:
    """Refuse a plan, or wishes, of another task."""
    if asked is not None and not isinstance(asked, _kinds(task)):
        found = next((other for other in _others() if isinstance(asked, _kinds(other))), "segment")
        raise OptionError(
            f"{name} is of the task {found!r}; the task asked for is {task!r}.",
            "Leave the task out, which then is that of the plan.",
        )


class _Dumper(yaml.SafeDumper):
    """Without aliases, which people do not read well."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _plain(value: Any) -> Any:
    """Lists for tuples and numbers of Python for those of numpy, so that YAML stays plain."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{str(path)!r} is not a training plan: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("plan"), dict):
        raise OptionError(f"{str(path)!r} is not a training plan: it has no entry 'plan'.")
    return content


def _task_of(path: Path) -> str:
    return family_of(str(_content(path).get("task", "segment"))).name


def read_plan(path: Path) -> Any:
    """Read back a plan of any family that a user may have edited.

    Raises
    ------
    OptionError
        If the file is not a plan, or a field is unknown or missing.
    """
    content = _content(path)
    task = _task_of(path)
    if task == "segment":
        return read_segment_plan(path)
    kind = trainer_of(task).Plan
    try:
        return _built(kind, content["plan"])
    except (TypeError, ValueError) as error:
        known = ", ".join(one.name for one in fields(kind))
        raise OptionError(
            f"{str(path)!r} is not a plan for the task {task!r}: {error}.", f"Known fields: {known}."
        ) from error


def _built(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass of plain values; tuples and dataclasses inside it are known by their defaults or names."""
    made = dict(values)
    for one in fields(kind):
        value = made.get(one.name)
        if isinstance(value, list) and str(one.type).startswith("tuple"):
            made[one.name] = _tupled(value)
        default: Any = one.default_factory
        if isinstance(value, Mapping) and isinstance(default, type) and is_dataclass(default):
            made[one.name] = _built(default, value)
    return kind(**made)


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
