"""What a macro may say: the grammar of option strings, and the options of each command.

A command's options are a dataclass made of the same fields as :class:`deepbio.RunOptions`; the parser, the dialogs
and the documentation are generated from it, so no option exists in one place only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from deepbio.errors import OptionError
from deepbio.inputs import SAVES
from deepbio.options import Options, RunOptions, option

__all__ = [
    "AddOptions",
    "BatchOptions",
    "DeepImageJOptions",
    "FeaturesOptions",
    "ImageOptions",
    "NoOptions",
    "OUTPUTS",
    "TableOptions",
    "format_words",
    "parse_span",
    "parse_words",
    "read_options",
    "run_options",
]

OUTPUTS = ("auto", "labels", "rois", "overlay", "table", "scores", "image")
_PATHS = ("model", "objects", "output_dir", "model_path", "input_path", "output_folder")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SPAN = re.compile(r"(\d+)(?:-(\d+))?")
_CLOSING = {"[": "]", '"': '"', "'": "'"}

AnyOptions = TypeVar("AnyOptions", bound=Options)


def _span(what: str) -> Any:
    return option("all", f"{what} of the image to use: all, current, one as 3, or some as 2-7")


@dataclass(frozen=True)
class ImageOptions(RunOptions):
    """Options of the commands that run a model on an open image.

    Examples
    --------
    >>> read_options(ImageOptions, "model=nuclei output=labels,rois min_size=20 per_slice")[0].output
    ('labels', 'rois')
    """

    output: tuple[str, ...] = option(
        ("auto",),
        "what to make of it, with commas between; auto: what the model's task gives, as labels and table",
        choices=OUTPUTS,
    )
    model: str = option(
        "", "name or folder of the model; empty: the one that fits the image, if only one does"
    )
    input: str = option("", "title or ID of the image; empty: the current one")
    frames: str = _span("frames")
    slices: str = _span("slices")
    title: str = option("", "title of the result; empty: that of the image, and what it is")
    output_dir: str = option("", "folder in which the outputs are also saved as files; made if missing")
    log: str = option("normal", "debug also writes tracebacks to the Log", choices=("normal", "debug"))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("frames", "slices"):
            parse_span(name, getattr(self, name), 1, 1, check=False)


@dataclass(frozen=True)
class FeaturesOptions(ImageOptions):
    """Options of ``DeepBio Features``: which layer of a model, and how its maps become numbers."""

    pool: str = option("mean", "how maps become a row of numbers", choices=("mean", "max", "mean,max"))


@dataclass(frozen=True)
class BatchOptions(RunOptions):
    """Options of ``DeepBio Batch``: files in a folder, results in another."""

    output: tuple[str, ...] = option((), "follows from save", choices=OUTPUTS)
    model: str = option("", "name or folder of the model")
    input: str = option("", "folder with images, an image, or a pattern")
    output_dir: str = option("", "folder for the results; made if missing")
    pattern: str = option("", "only files in the folder whose names match, such as *.tif")
    save: tuple[str, ...] = option(
        (),
        "what to write, with commas between; csv is the table; nothing named: what the model gives",
        choices=(*SAVES, "csv"),
    )
    overwrite: bool = option(False, "compute again what is done")
    log: str = option("normal", "debug also writes tracebacks to the Log", choices=("normal", "debug"))


@dataclass(frozen=True)
class TableOptions(Options):
    """Options of the commands that tell something."""

    output: str = option("table", "a table window, or lines in the Log", choices=("table", "log"))


@dataclass(frozen=True)
class AddOptions(Options):
    """Options of ``DeepBio Add Model``."""

    path: str = option(
        "",
        "the model: a package of BioImage.IO (folder or zip), a network of Cellpose (file), what StarDist or nnU-Net "
        "trained, or a bundle of MONAI (folder or zip)",
    )
    name: str = option("", "name to give it; empty: made from its own")
    replace: bool = option(False, "replace a model of this name that was added before")


@dataclass(frozen=True)
class NoOptions(Options):
    """Options of the commands that have none."""


@dataclass(frozen=True)
class DeepImageJOptions(Options):
    """The arguments of DeepImageJ 3's ``DeepImageJ Run``."""

    model_path: str = option("", "folder of the model, or the name of one of ours")
    input_path: str = option("", "image file or folder; empty or null: the current image")
    output_folder: str = option("", "folder in which the outputs are saved; empty or null: none")
    display_output: str = option("all", "all shows the outputs, null or none does not")


def parse_words(text: str) -> dict[str, str | None]:
    """Take an option string apart.

    Parameters
    ----------
    text : str
        ``key=value key=[value with blanks] word``; values may also stand in quotes. Keys are told in lower
        case, as ImageJ looks them up.

    Returns
    -------
    dict of str to (str or None)
        None for a bare word.

    Raises
    ------
    OptionError
        If a bracket or quote is not closed, a key is no name, or stands there twice.

    Examples
    --------
    >>> parse_words("model=[my model] Min_size=20 per_slice ")
    {'model': 'my model', 'min_size': '20', 'per_slice': None}
    """
    found: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _KEY.match(text, at)
        if match is None:
            raise _not_understood(text, at)
        key, at = match.group().lower(), match.end()
        value: str | None = None
        if text[at : at + 1] == "=":
            value, at = _value(text, at + 1, key)
        if at < len(text) and not text[at].isspace():
            raise _not_understood(text, match.start())
        if key in found:
            raise OptionError(f"The option {key!r} is given twice.", "Give it once.")
        found[key] = value
    return found


def _not_understood(text: str, at: int) -> OptionError:
    part = text[at:].split(maxsplit=1)[0]
    return OptionError(
        f"{part!r} is not understood; expected key=value.", "A value with blanks goes in brackets: key=[a b]."
    )


def _value(text: str, at: int, key: str) -> tuple[str, int]:
    """The value that begins at `at`, and where it ends."""
    opening = text[at : at + 1]
    if opening not in _CLOSING or not opening:
        end = at
        while end < len(text) and not text[end].isspace():
            end += 1
        return text[at:end], end
    closing, depth = _CLOSING[opening], 0
    for end in range(at, len(text)):
        if text[end] == opening and (opening == "[" or end == at):
            depth += 1
        elif text[end] == closing:
            depth -= 1
            if depth == 0:
                return text[at + 1 : end], end + 1
    raise OptionError(
        f"The value of {key!r} begins with {opening} and has no {closing} at its end.",
        f"Write {key}=[value], with as many closing as opening brackets.",
    )


def format_words(words: Mapping[str, str | None]) -> str:
    """Put an option string together, as the Recorder writes it; the inverse of :func:`parse_words`.

    Raises
    ------
    OptionError
        If a value has single brackets, and both kinds of quotes.

    Examples
    --------
    >>> format_words({"model": "my model", "min_size": "20", "per_slice": None})
    'model=[my model] min_size=20 per_slice'
    """
    return " ".join(key if value is None else f"{key}={_written(key, value)}" for key, value in words.items())


def _written(key: str, value: str) -> str:
    """A value as it is read again: as it is where it is simple, otherwise in brackets, or in quotes."""
    simple = value and not re.search(r"[\s\[\]\"']", value)
    for text in (value if simple else f"[{value}]", f'"{value}"', f"'{value}'", value):
        try:
            if parse_words(f"{key}={text}") == {key: value}:
                return text
        except OptionError:
            continue
    raise OptionError(
        f"The value of {key!r}, {value!r}, cannot be written in a macro.",
        "Leave out one kind of its brackets and quotes.",
    )


def read_options(kind: type[AnyOptions], text: str) -> tuple[AnyOptions, frozenset[str]]:
    """Read an option string as the options of a command.

    Returns
    -------
    options : Options
        Checked.
    given : frozenset of str
        Names of those that the string gives.

    Raises
    ------
    OptionError
        For what is not understood, unknown (the nearest are named) or not allowed.
    """
    words = parse_words(text)
    types = {one.name: str(one.type) for one in fields(kind)}
    for key, value in words.items():
        if key not in types:
            raise OptionError(
                f"There is no option {key!r}.", _torn(key, words, text, types) or _known(key, types)
            )
        if value is None and types[key] != "bool":
            raise OptionError(f"The option {key!r} has no value.", f"Write {key}=value.")
    texts = {key: "true" if value is None else _at_home(kind, key, value) for key, value in words.items()}
    return kind.parse(texts), frozenset(texts)


def _at_home(kind: type[Options], key: str, value: str) -> str:
    """A path from ``~`` as a whole one: ImageJ's own functions know it, and no shell is there to spell it out."""
    is_path = key in _PATHS or (key == "input" and kind is BatchOptions)
    return str(Path(value).expanduser()) if is_path and re.match(r"~[/\\]", value) else value


def _torn(key: str, words: Mapping[str, str | None], text: str, types: Mapping[str, str]) -> str:
    """How to write a value with blanks, where a word that is no option may belong to the value before it."""
    import difflib

    if words[key] is not None or difflib.get_close_matches(key, types, n=1, cutoff=0.8):
        return ""
    names = list(words)
    before = names[names.index(key) - 1] if key != names[0] else key
    value = words[before]
    if value is None or f"{before}={value} ".lower() not in text.lower():  # that of a bracket has ended
        return ""
    return f"A value with blanks goes in brackets, as in {before}=[{value} {key}]."


def _known(key: str, names: Mapping[str, str]) -> str:
    import difflib

    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    return (
        f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(names) or 'none'}."
    )


def run_options(options: RunOptions, output: tuple[str, ...]) -> RunOptions:
    """The part of a command's options that the core takes."""
    own = {one.name: getattr(options, one.name) for one in fields(RunOptions)}
    return RunOptions(**{**own, "output": output})


def parse_span(name: str, text: str, current: int, count: int, *, check: bool = True) -> range:
    """Read which frames or slices are meant.

    Parameters
    ----------
    name : str
        ``"frames"`` or ``"slices"``, for the error.
    text : str
        ``all``, ``current``, ``3`` or ``2-7``, counted from 1.
    current, count : int
        The current one, counted from 1, and how many there are.
    check : bool
        Whether the numbers have to be there.

    Returns
    -------
    range
        Counted from 0.

    Examples
    --------
    >>> parse_span("frames", "2-4", 1, 9), parse_span("frames", "current", 3, 9), parse_span("frames", "all", 1, 9)
    (range(1, 4), range(2, 3), range(0, 9))
    """
    word = text.strip().lower()
    if word in ("", "all"):
        return range(count)
    if word == "current":
        return range(current - 1, current)
    match = _SPAN.fullmatch(word)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise OptionError(
            f"The option {name!r} is {text!r}; expected all, current, a number, or two as 2-7, counted from 1."
        )
    if check and last > count:
        raise OptionError(f"The option {name!r} is {text!r}; the image has {count}.", f"Choose 1 to {count}.")
    return range(first - 1, last)
