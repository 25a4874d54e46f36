"""What a client asks before it runs anything: this machine, the options, the models, what fits."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import CardError, DeepBioError, ImageError, OptionError
from deepbio.families import FAMILIES, Family
from deepbio.image import RGB, Grid, Image
from deepbio.inputs import channel_files, find_inputs
from deepbio.library import ModelCard, is_bundled, scan_models
from deepbio.naming import plan_names
from deepbio.options import RunOptions
from deepbio.worker.values import plain

__all__ = ["PROTOCOL", "card_values", "class_values", "fits", "hello", "inputs", "models", "parse_options"]

PROTOCOL = 1  # goes up when a command changes so that an old client would misread it


def hello() -> dict[str, Any]:
    """Versions, devices, what device=auto means now, and the options of a run."""
    from deepbio import __version__
    from deepbio.engine.device import choose_device, list_devices

    devices = list_devices()
    chosen = choose_device()
    return {
        "protocol": PROTOCOL,
        "deepbio": __version__,
        "python": platform.python_version(),
        "pid": os.getpid(),
        "devices": [
            {"name": one.name, "label": one.label, "total": one.total, "free": one.free(), "why": one.why}
            for one in devices
        ],
        "chosen": {"name": chosen.name, "label": chosen.label, "why": chosen.why},
        "options": [_option(option, [one.name for one in devices]) for option in fields(RunOptions)],
    }


def _option(option: Field[Any], devices: list[str]) -> dict[str, Any]:
    """What a form needs to know of an option."""
    rules: Mapping[str, Any] = option.metadata
    choices = ["auto", *devices] if option.name == "device" else list(rules.get("choices", ()))
    kind = str(option.type).partition(" ")[0].partition("[")[0]  # "int | None", "tuple[str, ...]"
    names = {"bool": "bool", "int": "int", "float": "float", "tuple": "list"}
    return {
        "name": option.name,
        "help": rules["help"],
        "kind": names.get(kind, "choice" if choices else "text"),
        "default": plain(option.default),
        "choices": choices,
        "low": rules.get("low"),
        "high": rules.get("high"),
        "tasks": list(rules.get("tasks", ())),
    }


def models() -> dict[str, Any]:
    """Cards of all models, those that ship with deepbio first; and packages that cannot be read."""
    cards, problems = scan_models()
    ordered = sorted(cards, key=lambda card: (not is_bundled(card), card.name))
    return {
        "models": [card_values(card) for card in ordered],
        "broken": [
            {"name": one.name, "folder": str(one.folder), "message": str(one.error)} for one in problems
        ],
    }


def card_values(card: ModelCard) -> dict[str, Any]:
    """All of a card that a form or a scene may need."""
    from deepbio.tasks.frames import input_channels
    from deepbio.tasks.takes import takes

    family = FAMILIES.get(card.task or "segment")  # a foreign card may be for what nobody here runs
    return {
        **plain(card.describe()),
        "ndim": card.ndim,
        "channels": input_channels(card),
        "volumes": list(_volumes(card)),
        "least_volumes": _least_volumes(card),
        "channel_files": channel_files(card),
        "per_slice": card.deepbio.get("per_slice") is True,
        "verb": family.verb if family else "Run",
        **_outputs(card, family),
        "takes": list(takes(card)),
        "classes": class_values(card),
        "bundled": is_bundled(card),
        "documentation": _documentation(card),
    }


def _volumes(card: ModelCard) -> tuple[str, ...]:
    """Names of the channels, where each may be an image of its own; empty for one channel or colours."""
    from deepbio.tasks.frames import input_channels

    count, names = input_channels(card), card.input.channels
    if (
        count < 2
        or card.task not in (None, "", "segment")
        or card.deepbio.get("grey") == "repeat"
        or names == RGB
    ):
        return ()
    return tuple(names) if len(names) == count else tuple(f"channel {k + 1}" for k in range(count))


def _least_volumes(card: ModelCard) -> int:
    return 1 if card.deepbio.get("grey") == "first" else max(len(_volumes(card)), 1)


def _outputs(card: ModelCard, family: Family | None) -> dict[str, list[str]]:
    """What a model gives, and of that what is usual; of classes that are made, the table says which is which."""
    from deepbio.tasks.takes import takes

    if family is None:
        return {"usual": [], "gives": []}
    if takes(card) == ("nothing",):
        return {"usual": ["image", "table"], "gives": [one for one in family.gives if one != "labels"]}
    return {"usual": list(family.outputs), "gives": list(family.gives)}


def class_values(card: ModelCard) -> dict[str, Any]:
    """Name, colour and codes of each class, by label (as text, as in JSON)."""
    entries = card.deepbio.get("classes", {})
    return {
        str(label): plain(dict(entry)) if isinstance(entry, Mapping) else {"name": str(entry)}
        for label, entry in entries.items()
    }


def _documentation(card: ModelCard) -> str:
    if card.documentation is None:
        return ""
    try:
        return card.documentation.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the text is an extra: a model without it runs all the same
        return ""


def fits(image: Mapping[str, Any] | None, options: RunOptions) -> dict[str, Any]:
    """Say of each model whether it takes an image, and if not, why.

    Parameters
    ----------
    image : mapping or None
        ``axes``, ``shape``, ``dtype``; perhaps ``channels`` (names) and ``modality`` (as DICOM says it). With
        ``more`` true, other images like it can be had: a model that takes several as its channels then gets as many.
        None asks which models run without an image.
    options : RunOptions
        Those that are set: a channel, per_slice...

    Returns
    -------
    dict
        ``fits``: by model an empty text, or the reason why not. ``doubts``: by model an empty text, or
        why the result may be worthless although the model will run (made for another modality).
    """
    told = None if image is None else _Told(image)
    cards, _ = scan_models()
    return {
        "fits": {card.name: _reason(told.for_card(card) if told else None, card, options) for card in cards},
        "doubts": {card.name: _doubt(told.modality if told else "", card) for card in cards},
    }


def _reason(image: Image | None, card: ModelCard, options: RunOptions) -> str:
    """The error that the model would raise for this image, by the checks of the run itself."""
    from deepbio.predict import Model
    from deepbio.tasks.takes import check_imageless

    try:
        Model(card)  # checks the task
        if image is None:
            check_imageless(card)
        FAMILIES[card.task or "segment"].load("check")(image, card, options)
    except DeepBioError as error:
        return str(error)
    return ""


def _doubt(modality: str, card: ModelCard) -> str:
    made_for = {name.upper() for name in card.modality}
    if not modality or not made_for or modality in made_for:
        return ""
    return f"'{card.name}' was made for {', '.join(card.modality)}; this image is {modality}."


class _NoPixels:
    """The shape and type of an image, without its pixels."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError(f"a check of axes and channels asked for the pixels {key!r}")


class _Told:
    """The image of a request."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        try:
            shape = tuple(int(n) for n in message["shape"])
            pixels = _NoPixels(shape, np.dtype(message["dtype"]))
            axes = str(message["axes"])
        except (KeyError, TypeError, ValueError) as error:
            raise ImageError(
                f"The image of the request is not understood ({type(error).__name__}: {error}).",
                "Expected axes, shape and dtype.",
            ) from error
        spatial = tuple(n for axis, n in zip(axes, shape, strict=False) if axis in "ZYX")
        grid = Grid(spatial, unit="millimeter") if len(spatial) in (2, 3) else None
        self.image = Image(pixels, axes, grid, tuple(message.get("channels") or ()))  # type: ignore[arg-type]
        self.modality = str(message.get("modality") or "").upper()
        self.more = message.get("more") is True and not {"C", "T"} & set(axes)

    def for_card(self, card: ModelCard) -> Image:
        """The image, or as many like it as the model needs."""
        count = _least_volumes(card) if self.more else 1
        if count == 1:
            return self.image
        pixels = _NoPixels((count, *self.image.shape), self.image.dtype)
        return Image(pixels, "C" + self.image.axes, self.image.grid)


def inputs(request: Mapping[str, Any]) -> dict[str, Any]:
    """The images that a batch would take, without reading any.

    Parameters
    ----------
    request : mapping
        As that of a batch: ``model``, ``inputs``, ``output``.

    Returns
    -------
    dict
        ``cases``: of each image ``file``, as the batch names it, ``name``, what its results are called after, and
        ``channels``, the files of its channels where each has one; empty for an image in one file.

    Raises
    ------
    ImageError
        As :func:`deepbio.inputs.find_inputs`: nothing found, or cases that lack files, all of them named.
    """
    paths, output = request.get("inputs"), request.get("output")
    if not isinstance(paths, list) or not paths:
        raise OptionError(f"The request needs 'inputs', a list of paths; found {paths!r:.80}.")
    folder = Path(output) if output else None
    found = find_inputs(paths, folder, channels=channel_files(find_card(request)))
    names = plan_names(found, folder or Path(paths[0]))
    return {
        "cases": [
            {"file": str(one), "name": names[one], "channels": [str(file) for file in one.channels]}
            for one in found
        ]
    }


def parse_options(texts: Any) -> RunOptions:
    """Options from the texts of a request.

    Raises
    ------
    OptionError
        If they are not texts by name, or RunOptions does not take them.
    """
    if texts is None:
        return RunOptions()
    if not isinstance(texts, Mapping) or not all(isinstance(text, str) for text in texts.values()):
        raise OptionError(f"The options are {texts!r:.80}; expected texts by name, as {{'tile': '256'}}.")
    return RunOptions.parse(texts)


def find_card(request: Mapping[str, Any]) -> ModelCard:
    """The card of the model that a request names."""
    from deepbio.library import find_model

    name = request.get("model")
    if not isinstance(name, str) or not name:
        raise CardError(f"The request names no model (found {name!r}).")
    return find_model(name)
