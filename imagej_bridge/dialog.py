"""Dialogs made from the options of a command, and what the Recorder writes of them."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from deepbio.library import list_models
from imagej_bridge.commands import Command, auto, gives
from imagej_bridge.java import java
from imagej_bridge.options import format_words

__all__ = ["HIDDEN", "add_menu", "ask", "default_text", "kind_of", "order", "record"]

# Of interest when something is tuned or looked into: below the others.
LATER = (
    "device",
    "precision",
    "runtime",
    "tile",
    "overlap",
    "batch",
    "mirror",
    "explain",
    "target",
    "layer",
    "pool_frames",
)
LATER += ("uncertainty", "log")
HIDDEN = {"BatchOptions": ("output",)}  # follows from another
_FIRST = ("model", "model_path", "input", "output", "save", "channel")
_WIDTH = 24  # letters of a text field
_FOLDERS = ("output_dir", "output_folder")
_FILES = ("path",)  # which may be folders: their path can be typed
_MORE = "more options"
_RADIOLOGY = ("CT", "MR", "PT", "US", "XR")  # of less interest in ImageJ than microscopes
_last_models: dict[str, str] = {}  # by command


def order(command: Command, *, task: str = "") -> list[Field[Any]]:
    """The fields of a command's options as a person reads them: what matters most first.

    With a task, options of other tasks are left out.
    """
    hidden = HIDDEN.get(command.options.__name__, ())
    known = [one for one in fields(command.options) if one.name not in hidden]
    if task:
        known = [one for one in known if task in one.metadata.get("tasks", (task,))]

    def rank(one: Field[Any]) -> int:
        if one.name in _FIRST:
            return _FIRST.index(one.name)
        return len(_FIRST) + (one.name in LATER)

    return sorted(known, key=rank)  # sorted is stable: others stay in their order


def kind_of(one: Field[Any]) -> str:
    """``"bool"``, ``"choice"`` (one of some) or ``"text"``."""
    if str(one.type) == "bool":
        return "bool"
    return "choice" if "choices" in one.metadata and not str(one.type).startswith("tuple") else "text"


def default_text(one: Field[Any]) -> str:
    """The default as a user would write it."""
    if isinstance(one.default, tuple):
        return ",".join(one.default)
    return "auto" if one.default is None else str(one.default)


def ask(command: Command) -> dict[str, str | None] | None:
    """Show the dialog of a command.

    Returns
    -------
    dict of str to (str or None) or None
        What differs from the defaults, as words of the grammar; None if the user cancelled.
    """
    models = _models(command)
    fields_ = order(command, task=command.task)
    main, later = ([one for one in fields_ if (one.name in LATER) == which] for which in (False, True))
    words = _dialog(command.name, command, main, models, more=bool(later))
    if words is not None and words.pop(_MORE, "") is None:
        added = _dialog(f"{command.name}: more options", command, later, models)
        words = None if added is None else words | added
    if words is not None and "model" in words:
        _last_models[command.name] = str(words["model"])
    return words


def _models(command: Command) -> list[str]:
    """Names of the models of a command: the one that was used last, then those for microscopes."""
    last = _last_models.get(command.name)
    cards = [card for card in list_models() if command.task in ("", card.task)]

    def rank(card: Any) -> tuple[bool, bool]:
        return card.name != last, any(kind in _RADIOLOGY for kind in card.modality)

    return [card.name for card in sorted(cards, key=rank)]


def _dialog(
    title: str, command: Command, shown: list[Field[Any]], models: list[str], *, more: bool = False
) -> dict[str, str | None] | None:
    """Show some options; what differs from the defaults, and :data:`_MORE` if more are wanted."""
    dialog = java("ij.gui.GenericDialog")(title)
    dialog.addMessage(command.help)
    for one in shown:
        _add(dialog, one, models, command)
    if more:
        dialog.addCheckbox("more options", False)
    dialog.showDialog()
    if dialog.wasCanceled():
        return None
    words: dict[str, str | None] = {}
    for one in shown:
        value = _next(dialog, one, models, command)
        if value is not False and value != default_text(one):
            words[one.name] = None if value is True else value
    if more and dialog.getNextBoolean():
        words[_MORE] = None
    return words


def _ticks(one: Field[Any], command: Command) -> tuple[str, ...]:
    """The kinds of output to tick, where it is known which there are."""
    return gives(command.task) if one.name == "output" else ()


def _add(dialog: Any, one: Field[Any], models: list[str], command: Command) -> None:
    kind, ticks = kind_of(one), _ticks(one, command)
    if one.name == "model" and models:
        dialog.addChoice("model", models, models[0])
    elif ticks:
        dialog.addCheckboxGroup(1, len(ticks), list(ticks), [tick in auto(command.task) for tick in ticks])
    elif kind == "bool":
        dialog.addCheckbox(one.name, bool(one.default))
    elif kind == "choice":
        dialog.addChoice(one.name, list(one.metadata["choices"]), default_text(one))
    elif one.name in _FOLDERS:
        dialog.addDirectoryField(one.name, default_text(one), _WIDTH)
    elif one.name in _FILES:
        dialog.addFileField(one.name, default_text(one), _WIDTH)
    else:
        dialog.addStringField(one.name, default_text(one), _WIDTH)


def _next(dialog: Any, one: Field[Any], models: list[str], command: Command) -> str | bool:
    """What stands in the field: a text, or for a checkbox whether it is set."""
    kind, ticks = kind_of(one), _ticks(one, command)
    if ticks:
        chosen = tuple(tick for tick in ticks if dialog.getNextBoolean())
        return default_text(one) if chosen == auto(command.task) else ",".join(chosen)
    if kind == "bool":
        return bool(dialog.getNextBoolean())
    if kind == "choice" or (one.name == "model" and models):
        return str(dialog.getNextChoice())
    return str(dialog.getNextString()).strip()


def record(name: str, words: dict[str, str | None]) -> None:
    """Write the command to the Recorder, if that is open."""
    recorder = java("ij.plugin.frame.Recorder")
    if not recorder.record:
        return
    text = format_words(words).replace("\\", "\\\\").replace('"', '\\"')
    call = f'IJ.run("{name}", "{text}");' if recorder.scriptMode() else f'run("{name}", "{text}");'
    recorder.recordString(call + "\n")


def add_menu(names: list[str]) -> None:
    """Add commands to ImageJ's own menu: Plugins > DeepBio. They go when ImageJ ends; nothing is installed."""
    menus = java("ij.Menus")
    plugins = menus.getImageJMenu("Plugins")
    if plugins is None:
        return
    menu = java("java.awt.Menu")("DeepBio")
    for name in names:
        item = java("java.awt.MenuItem")(name)
        item.addActionListener(java("ij.IJ").getInstance())
        menu.add(item)
    plugins.add(menu)
