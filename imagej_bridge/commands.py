"""The commands: what ``run("DeepBio Segment", "...")`` and the others do, whoever hosts them.

A command reads its options, takes an image from a desk (ImageJ in this process, or files that a Fiji without
Python has written), runs a model with :mod:`deepbio` and lays the result on the desk. It knows no Java.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepbio import features, generate, read_labels, run_many
from deepbio.batch import SUMMARY
from deepbio.errors import InputMismatch, OptionError
from deepbio.events import Notice
from deepbio.families import FAMILIES
from deepbio.image import LabelMap, Table
from deepbio.io.rois import check_rois
from deepbio.library import ModelCard, find_model, list_models
from deepbio.object_files import labels_of, names_labels
from deepbio.options import Options, RunOptions
from deepbio.tasks import Result
from imagej_bridge.adding import add
from imagej_bridge.choosing import card_named, fitting_card, only_card, path_or_name
from imagej_bridge.exchange import Desk, Placed, Taken
from imagej_bridge.files import make_folder, save_outputs, stem_of
from imagej_bridge.options import (
    AddOptions,
    BatchOptions,
    DeepImageJOptions,
    FeaturesOptions,
    ImageOptions,
    NoOptions,
    TableOptions,
    read_options,
    run_options,
)
from imagej_bridge.telling import tell_doctor, tell_models

__all__ = [
    "COMMANDS",
    "Command",
    "auto",
    "execute",
    "find_command",
    "gives",
]


def auto(task: str) -> tuple[str, ...]:
    """What models of a task give where nothing else is asked for."""
    return FAMILIES[task or "segment"].outputs if task in ("", *FAMILIES) else ()


def gives(task: str) -> tuple[str, ...]:
    """All that models of a task can give, also what ImageJ makes of labels."""
    if task not in FAMILIES:
        return ()
    parts = FAMILIES[task].gives
    at = parts.index("labels") + 1 if "labels" in parts else 0
    return (*parts[:at], *(("rois", "overlay") if at else ()), *parts[at:])


@dataclass(frozen=True)
class Command:
    """A command of the menu.

    Attributes
    ----------
    name : str
        As a macro calls it.
    help : str
        What it does, in one sentence.
    options : type
        Its options.
    act : callable
        Does it, on a desk, with options and the names of those that were given.
    task : str
        Of the models it runs, or empty for any.
    """

    name: str
    help: str
    options: type[Options]
    act: Callable[[Desk, Command, Any, frozenset[str]], None]
    task: str = ""

    @property
    def takes_image(self) -> bool:
        """Whether it runs on an open image."""
        return issubclass(self.options, ImageOptions)

    @property
    def needs_image(self) -> bool:
        """Whether it cannot do without one: some generators make images of nothing."""
        return self.takes_image and self.task != "generate"


def execute(desk: Desk, name: str, text: str) -> None:
    """Carry out a command.

    Parameters
    ----------
    desk : Desk
        Where.
    name : str
        A key of :data:`COMMANDS`.
    text : str
        Its option string.

    Raises
    ------
    DeepBioError
        Before anything is changed.
    """
    command = find_command(name)
    options, given = read_options(command.options, text)
    command.act(desk, command, options, given)


def find_command(name: str) -> Command:
    """The command of a name.

    Raises
    ------
    OptionError
        If there is none; the nearest are named.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    near = difflib.get_close_matches(name, COMMANDS, n=2, cutoff=0.6)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(COMMANDS)}."
    raise OptionError(f"There is no command '{name}'.", hint)


def _run(desk: Desk, command: Command, options: ImageOptions, given: frozenset[str]) -> None:
    """Run a model on an image of the desk."""
    card = card_named(options.model, command.task) if options.model else None
    taken = desk.take(options)
    for note in taken.image.meta.get("notes", ()):
        desk.listener(Notice(note, "warning"))
    if card is None:
        planes = run_options(options, ("labels",)).replace(per_slice=True)
        card = fitting_card(taken.image, command.task, planes)
    _run_card(desk, card, taken, options, given)


def _run_card(
    desk: Desk, card: ModelCard, taken: Taken, options: ImageOptions, given: frozenset[str]
) -> None:
    shown = _wanted(options.output, card)
    wanted = (*shown, *_extras(options))
    _get_ready(desk, wanted, options)
    core = run_options(options, _computed(shown))
    if card.ndim == 2 and "per_slice" not in given:
        core = core.replace(per_slice=True)  # ImageJ's users expect all planes of a stack
    result = desk.models.get(card).run(taken.image, core, on_progress=desk.listener)
    _tell_missing(desk, card, result, options.output)
    saved: Mapping[str, Path] = {}
    if options.output_dir:
        saved = save_outputs(options.output_dir, taken.title, taken.image, result, wanted, card)
    desk.place(taken, Placed(result, card, wanted, options.title, saved))


def _tell_missing(desk: Desk, card: ModelCard, result: Result, output: tuple[str, ...]) -> None:
    """Tell what was asked for by name and did not come, as labels of an image that was classified as a whole."""
    missing = [
        kind for kind in output if kind != "auto" and getattr(result, _computed((kind,))[0], None) is None
    ]
    if not missing:
        return
    text = f"The model '{card.name}' gives no {', '.join(missing)} of this image with these options."
    if len(missing) == len(output):
        raise InputMismatch(text, f"Leave 'output' out: then it gives {', '.join(auto(card.task))}.")
    desk.listener(Notice(text, "warning"))


def _get_ready(desk: Desk, wanted: tuple[str, ...], options: ImageOptions) -> None:
    """Refuse before the work what could not be shown or saved after it."""
    desk.check(wanted, options)
    if options.output_dir:
        make_folder(options.output_dir)


def _wanted(output: tuple[str, ...], card: ModelCard) -> tuple[str, ...]:
    """The outputs that are meant, without repetition."""
    spelt = [kind for word in output for kind in (auto(card.task) if word == "auto" else (word,))]
    if not spelt:
        raise OptionError(
            "The option 'output' is empty.", "Leave it out, or name what you want: output=labels."
        )
    known = gives(card.task or "segment")
    for kind in spelt:
        if kind not in known:
            raise OptionError(f"The model '{card.name}' gives no {kind}.", f"Choose of: {', '.join(known)}.")
    if {"rois", "overlay"} & set(spelt):
        check_rois()
    return tuple(dict.fromkeys(spelt))


def _generate(desk: Desk, command: Command, options: ImageOptions, given: frozenset[str]) -> None:
    """Make images of classes, or one that fits the mask on the desk."""
    card = card_named(options.model, command.task) if options.model else only_card(command.task)
    if card.deepbio.get("generator", {}).get("kind") != "class":
        _run_card(desk, card, desk.take(options), options, given)
        return
    wanted = _wanted(options.output, card)
    _get_ready(desk, wanted, options)
    result = generate(
        desk.models.get(card), run_options(options, _computed(wanted)), on_progress=desk.listener
    )
    assert result.image is not None, "a generator gives images"  # noqa: S101 - for the type checker
    taken = desk.made(result.image, card.name)
    saved: Mapping[str, Path] = {}
    if options.output_dir:
        saved = save_outputs(options.output_dir, card.name, result.image, result, wanted, card)
    desk.place(taken, Placed(result, card, wanted, options.title, saved))


def _extras(options: RunOptions) -> tuple[str, ...]:
    """What comes beside the outputs, where an option asks for it."""
    asked = (
        ("uncertainty", options.uncertainty),
        ("explanation", options.explain),
        ("features", options.layer),
    )
    return tuple(kind for kind, option in asked if option)


def _features(desk: Desk, command: Command, options: FeaturesOptions, given: frozenset[str]) -> None:
    """Describe an image of the desk, or the objects in it, by what a layer of a network gives."""
    if not options.model:
        names = ", ".join(card.name for card in list_models())
        raise OptionError("The option 'model' is not given.", f"Choose one: model= one of {names}.")
    card = find_model(options.model)
    taken = desk.take(options)
    wanted = ("features", *(("labels",) if options.objects else ()))
    _get_ready(desk, wanted, options)
    core = run_options(options, ()).replace(layer="", objects="", per_slice=card.ndim == 2)
    result = features(
        taken.image,
        desk.models.get(card),
        layer=options.layer or "auto",
        pool=options.pool,
        objects=_objects(options.objects, taken.title),
        options=core,
        on_progress=desk.listener,
    )
    saved: Mapping[str, Path] = {}
    if options.output_dir:
        saved = save_outputs(options.output_dir, taken.title, taken.image, result, wanted, card)
    desk.place(taken, Placed(result, card, wanted, options.title, saved))


def _objects(text: str, title: str) -> LabelMap | str | None:
    """The objects that an option names: label images, or a model that finds them."""
    return read_labels(labels_of(text, title)) if text and names_labels(text) else text or None


def _computed(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """What the core has to return: ROIs and overlays are made from labels."""
    return tuple(dict.fromkeys("labels" if kind in ("rois", "overlay") else kind for kind in wanted))


def _batch(desk: Desk, command: Command, options: BatchOptions, given: frozenset[str]) -> None:
    """Run a model on files."""
    for name in ("model", "input", "output_dir"):
        if not getattr(options, name):
            raise OptionError(f"The option {name!r} is not given.", f"Write {name}=[...].")
    if "output" in given:
        raise OptionError(
            "There is no option 'output' here.", "What is written is said by save=labels,rois,csv."
        )
    card = find_model(options.model)
    source = Path(options.input)
    inputs = [str(source / options.pattern)] if options.pattern and source.is_dir() else [str(source)]
    save = tuple(dict.fromkeys("table" if kind == "csv" else kind for kind in options.save))
    core = run_options(options, ("labels",))
    if card.ndim == 2 and "per_slice" not in given:
        core = core.replace(per_slice=True)
    rows = run_many(
        desk.models.get(card),
        inputs,
        options.output_dir,
        core,
        save=save,
        overwrite=options.overwrite,
        on_progress=desk.listener,
    )
    objects = [float("nan") if row.objects is None else row.objects for row in rows]
    columns: dict[str, Any] = {
        "file": [row.file for row in rows],
        "status": [row.status for row in rows],
        "seconds": [row.seconds for row in rows],
        "objects": objects,
        "message": [row.message for row in rows],
    }
    desk.show_table("DeepBio Batch", Table(columns))
    failed = [row for row in rows if row.status == "failed"]
    if failed:
        raise InputMismatch(
            f"{len(failed)} of {len(rows)} files failed, the first with: {failed[0].message}",
            f"'{Path(options.output_dir) / SUMMARY}' says why, file by file.",
        )


def _deepimagej(desk: Desk, command: Command, options: DeepImageJOptions, given: frozenset[str]) -> None:
    """Do what ``DeepImageJ Run`` does: the network's own outputs, shown and saved."""
    if not options.model_path:
        raise OptionError("The option 'model_path' is not given.", "Write model_path=[folder of the model].")
    shown = options.display_output.strip().lower()
    if shown not in ("all", "", "null", "none"):
        raise OptionError(f"The option 'display_output' is {shown!r}; expected all, or null for nothing.")
    folder = _unless_null(options.output_folder)
    card = find_model(path_or_name(options.model_path))
    if folder:
        make_folder(folder)
    wanted = RunOptions().replace(output=("scores",))
    for taken in _inputs(desk, _unless_null(options.input_path)):
        core = wanted.replace(per_slice=card.ndim == 2)
        title = f"{stem_of(taken.title.split(' ')[0])}_{card.output.id}"  # as DeepImageJ calls it
        name = f"{stem_of(taken.title)}_{card.output.id}"  # as long as needed: files of a folder stay apart
        result = desk.models.get(card).run(taken.image, core, on_progress=desk.listener)
        saved: Mapping[str, Path] = {}
        if folder:
            saved = save_outputs(
                folder, taken.title, taken.image, result, ("scores",), card, names={"scores": name}
            )
        outputs = ("scores",) if shown == "all" else ()
        desk.place(taken, Placed(result, card, outputs, title, saved))


def _unless_null(text: str) -> str:
    return "" if text.strip().lower() in ("null", "none") else text.strip()


def _inputs(desk: Desk, path: str) -> list[Taken]:
    from deepbio.inputs import find_inputs

    if not path:
        return [desk.take(ImageOptions())]
    return [desk.open(one.path) for one in find_inputs([path])]


def _release(desk: Desk, command: Command, options: NoOptions, given: frozenset[str]) -> None:
    names = desk.models.release()
    desk.tell(f"DeepBio let go: {', '.join(names)}." if names else "DeepBio holds no model.")


def _extensions(desk: Desk, command: Command, options: NoOptions, given: frozenset[str]) -> None:
    desk.extend()


_ALL = (
    Command("DeepBio Segment", "Find objects or regions in the image.", ImageOptions, _run, "segment"),
    Command(
        "DeepBio Restore",
        "Take noise out of the image, or make its pixels finer.",
        ImageOptions,
        _run,
        "restore",
    ),
    Command("DeepBio Sequence", "Follow through time what a movie shows.", ImageOptions, _run, "sequence"),
    Command("DeepBio Classify", "Say what the image shows.", ImageOptions, _run, "classify"),
    Command(
        "DeepBio Generate", "Make images, of classes or from a mask.", ImageOptions, _generate, "generate"
    ),
    Command(
        "DeepBio Features", "Describe the image, or its objects, by numbers.", FeaturesOptions, _features
    ),
    Command("DeepBio Run", "Run any model on the image.", ImageOptions, _run),
    Command("DeepBio Batch", "Run a model on the images of a folder.", BatchOptions, _batch),
    Command("DeepBio Models", "List the models that are installed.", TableOptions, tell_models),
    Command("DeepBio Add Model", "Add a model to those that are installed.", AddOptions, add),
    Command("DeepBio Doctor", "Say what this machine offers and what is missing.", TableOptions, tell_doctor),
    Command("DeepBio Release", "Let the models go that are loaded, and their memory.", NoOptions, _release),
    Command("DeepBio Macro Extensions", "Let macros call Ext.segment and others.", NoOptions, _extensions),
    Command("DeepBio DeepImageJ Run", "Run macros made for DeepImageJ.", DeepImageJOptions, _deepimagej),
)
COMMANDS = {command.name: command for command in _ALL}
