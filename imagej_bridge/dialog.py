"""Dialogs made from the options of a command, and what the Recorder writes of them."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from deepbio.library import list_models
from imagej_bridge.commands import Command
from imagej_bridge.java import java
from imagej_bridge.options import format_words

__all__ = ["HIDDEN", "add_menu", "ask", "default_text", "kind_of", "order", "record"]

# Of interest when something is tuned or looked into: below the others.
LATER = ("device", "precision", "runtime", "tile", "overlap", "batch", "mirror", "log")
HIDDEN = {"BatchOptions": ("output",)}  # follows from another
_FIRST = ("model", "model_path", "input", "output", "save", "channel")
_WIDTH = 24  # letters of a text field


def order(command: Command) -> list[Field[Any]]:
    """The fields of a command's options as a person reads them: what matters most first."""
    hidden = HIDDEN.get(command.options.__name__, ())
    known = [one for one in fields(command.options) if one.name not in hidden]

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
    dialog = java("ij.gui.GenericDialog")(command.name)
    dialog.addMessage(command.help)
    shown = order(command)
    models = [card.name for card in list_models() if command.task in ("", card.task)]
    for one in shown:
        _add(dialog, one, models)
    dialog.showDialog()
    if dialog.wasCanceled():
        return None
    words: dict[str, str | None] = {}
    for one in shown:
        value = _next(dialog, one, models)
        if value is not False and value != default_text(one):
            words[one.name] = None if value is True else value
    return words


def _add(dialog: Any, one: Field[Any], models: list[str]) -> None:
    kind = kind_of(one)
    if one.name == "model" and models:
        dialog.addChoice("model", models, models[0])
    elif kind == "bool":
        dialog.addCheckbox(one.name, bool(one.default))
    elif kind == "choice":
        dialog.addChoice(one.name, list(one.metadata["choices"]), default_text(one))
    else:
        dialog.addStringField(one.name, default_text(one), _WIDTH)


def _next(dialog: Any, one: Field[Any], models: list[str]) -> str | bool:
    """What stands in the field: a text, or for a checkbox whether it is set."""
    kind = kind_of(one)
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
