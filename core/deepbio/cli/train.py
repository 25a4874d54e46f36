"""``deepbio train``: a model from images and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from deepbio.cli.common import JsonOption, command, out, print_json
from deepbio.cli.evaluate import DataArgument
from deepbio.cli.groups import QuietOption
from deepbio.cli.listeners import listening
from deepbio.cli.options import with_options
from deepbio.errors import OptionError
from deepbio.families import FAMILIES

_PLAN = "What is trained"


@dataclass(frozen=True)
class PlanOptions:
    """What is trained: what a new plan is to follow, or a plan."""

    task: Annotated[
        str,
        typer.Option(
            "--task",
            metavar="|".join(("auto", *FAMILIES)),
            help="What is learned; auto: as the data looks.",
            rich_help_panel=_PLAN,
        ),
    ] = "auto"
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the task's plan (docs/train.md lists them); may be repeated.",
            rich_help_panel=_PLAN,
        ),
    ] = None
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Follow this plan (YAML).", rich_help_panel=_PLAN)
    ] = None
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="auto|instances|classes",
            help="What labels mean; default: auto.",
            rich_help_panel=_PLAN,
        ),
    ] = None
    configuration: Annotated[
        str | None,
        typer.Option(
            "--configuration",
            metavar="auto|2d|3d|3d_lowres",
            help="How to train on volumes; default: auto.",
            rich_help_panel=_PLAN,
        ),
    ] = None
    modality: Annotated[
        str | None,
        typer.Option(
            "--modality",
            metavar="auto|CT|MR|other",
            help="Decides the normalisation; default: as the files or the intensities say.",
            rich_help_panel=_PLAN,
        ),
    ] = None
    memory: Annotated[
        float | None,
        typer.Option(
            "--memory",
            metavar="GB",
            help="Memory for a training step; default: 1.5 on a CPU, else 8.",
            rich_help_panel=_PLAN,
        ),
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", min=0, help="Cross-validate over train and val; default: 0.", rich_help_panel=_PLAN
        ),
    ] = None
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="MODEL",
            help="Fine-tune this model: begin with its weights.",
            rich_help_panel=_PLAN,
        ),
    ] = None
    refine: Annotated[
        str | None,
        typer.Option(
            "--refine",
            metavar="MODEL",
            help="Make the second stage of a cascade: see what this model found, too.",
            rich_help_panel=_PLAN,
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Training steps; default: by the data.", rich_help_panel=_PLAN),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of every random draw; default: 0.", rich_help_panel=_PLAN),
    ] = None
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Write the plan, print it and stop.", rich_help_panel=_PLAN)
    ] = False

    @property
    def given(self) -> dict[str, Any]:
        """The wishes that have an option of their own."""
        names = ("target", "configuration", "modality", "memory", "folds", "start", "refine", "steps", "seed")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class FitOptions:
    """How it is trained, and what the card says."""

    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Train only this fold.")] = None
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Train nothing; package the folds that are trained.")
    ] = False
    about: Annotated[
        Path | None, typer.Option("--about", help="YAML with title, authors, licence... for the card.")
    ] = None
    device: Annotated[
        str, typer.Option("--device", help="Where to compute: auto, cpu, cuda, cuda:N, mps, xpu.")
    ] = "auto"


@command
@with_options("asked", PlanOptions)
@with_options("how", FitOptions)
def train(
    data: DataArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the new model package; its name is the model's.",
            show_default=False,
        ),
    ],
    *,
    asked: PlanOptions,
    how: FitOptions,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model, and write it as a package that 'deepbio run' takes.

    The plan (network, patches, normalisation, augmentation) follows from the data; it is written
    to OUT.training/plan.yaml, where it can be read and edited. A run that was stopped goes on
    when the command is started again. With --folds, each fold is trained and their ensemble is
    the model.
    """
    from deepbio.training import guess_task, propose_plan, read_description
    from deepbio.training import train as train_model

    _check_alone(asked)
    task = guess_task(data) if asked.task == "auto" and asked.plan is None else asked.task
    about = read_description(how.about) if how.about is not None else None
    plan = _asked_plan(task, asked)
    if asked.plan_only:
        saved = output.with_name(f"{output.name}.training") / "plan.yaml"
        with listening(json=json, quiet=quiet) as listener:
            propose_plan(data, plan, task=task, about=about, save=saved, on_progress=listener)
        text = saved.read_text(encoding="utf-8").rstrip()
        if json:
            print_json({"event": "plan", "file": str(saved), "plan": yaml.safe_load(text)})
        else:
            out.print(text)
        return
    with listening(json=json, quiet=quiet) as listener:
        package = train_model(
            data,
            output,
            task=task,
            plan=plan,
            about=about,
            device=how.device,
            fold=how.fold,
            ensemble=how.ensemble,
            on_progress=listener,
        )
    if json:
        print_json({"event": "model", "folder": str(package)})
    elif not quiet:
        out.print(f"The model is in {package}; use it with: deepbio run {package} IMAGE -o OUT")


def _check_alone(asked: PlanOptions) -> None:
    """See that nothing is asked of a plan that is there already."""
    named = [f"--{name}" for name in asked.given] + ["--set"] * bool(asked.settings)
    if asked.plan_only:
        named.append("--plan-only")
    if asked.plan is not None and named:
        raise OptionError(
            f"--plan says everything; {' and '.join(named)} {'is' if len(named) == 1 else 'are'} for a new plan.",
            "Edit the plan, or leave --plan out.",
        )


def _asked_plan(task: str, asked: PlanOptions) -> Any:
    """The plan to follow, or what a new one is to follow; None: go on with the one that was begun."""
    from deepbio.training import read_plan

    if asked.plan is not None:
        return read_plan(asked.plan)
    return _wishes(task, asked.given, asked.settings or ()) if asked.given or asked.settings else None


def _wishes(task: str, given: dict[str, Any], settings: Sequence[str]) -> Any:
    """What is asked of a new plan: options of segmentation, or settings of another task."""
    from deepbio.training import Wishes, wishes_of

    if task == "segment" and not settings:
        return Wishes(**given)
    texts = {name: str(value) for name, value in given.items()}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise OptionError(f"--set {setting!r} has no value.", "Write it as --set name=value.")
        texts[name.strip()] = value
    return wishes_of(task, texts)


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("train")(train)
