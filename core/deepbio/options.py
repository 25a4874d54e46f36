"""RunOptions: the one list of options behind the command line, macros, dialogs and forms.

A field's metadata says what a person needs to know (help text, allowed values, range); every
front end is generated from it, so no option exists in one place only.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from deepbio.errors import OptionError

__all__ = ["EXPLAIN", "OUTPUTS", "UNCERTAINTY", "Options", "RunOptions", "option"]

OUTPUTS = ("labels", "table", "image", "scores")
CLASSIFY = ("auto", "whole", "tiles", "objects")
EXPLAIN = ("", "gradcam", "integrated-gradients", "occlusion")
UNCERTAINTY = ("", "tta", "dropout")
RUNTIMES = ("auto", "torch", "compile", "openvino", "onnx")
_SCORED = ("segment", "classify", "sequence")
_UNSURE = (*_SCORED, "restore")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def option(default: Any, help: str, **rules: Any) -> Any:
    """Return a field of an options class: RunOptions, or one of a front end that adds to it.

    Parameters
    ----------
    default : object
        None (or "auto") means: as the card and the machine say.
    help : str
        One line for people.
    **rules
        ``choices``, or ``low`` and ``high``; ``tasks``, where it is for some families only: forms show
        it for those.
    """
    return field(default=default, metadata={"help": help, **rules})


@dataclass(frozen=True)
class Options:
    """Base of classes whose fields are made with :func:`option`: they check and read themselves."""

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.metadata)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Self:
        """Build options from the texts of a macro, a form or a command line.

        Raises
        ------
        OptionError
            For an unknown name (the nearest ones are named) or a text that cannot be read.
        """
        known = {one.name: one for one in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                hint = (
                    f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(known)}."
                )
                raise OptionError(f"There is no option {name!r}.", hint)
            values[name] = _read(name, str(known[name].type), text.strip())
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some options changed (and checked)."""
        return replace(self, **changes)


@dataclass(frozen=True)
class RunOptions(Options):
    """How a model is run on an image. None (or "auto") means: as the card and the machine say.

    Raises
    ------
    OptionError
        If a value is not one of the allowed ones or outside its range.

    Examples
    --------
    >>> RunOptions(overlap=0.25).overlap
    0.25
    >>> RunOptions.parse({"tile": "512", "per_slice": "true"}).tile
    512
    """

    device: str = option("auto", "where to compute: auto, cpu, cuda, cuda:N, mps or xpu")
    precision: str = option("auto", "arithmetic; auto keeps the labels of fp32", choices=PRECISIONS)
    runtime: str = option(
        "auto", "engine that runs the network; auto takes the fastest installed", choices=RUNTIMES
    )
    tile: int | None = option(
        None, "tile edge in pixels; auto follows the card and the free memory", low=16, high=16384
    )
    overlap: float | None = option(
        None, "overlap of neighbouring tiles as a fraction of the tile", low=0.0, high=0.9
    )
    batch: int | None = option(None, "tiles computed at once", low=1, high=1024)
    diameter: float | None = option(
        None,
        "typical diameter of the objects in pixels; the image is enlarged or reduced to what the model knows; "
        "auto follows the card, which may measure it",
        low=0.5,
        high=100000.0,
        tasks=("segment",),
    )
    channel: str = option(
        "auto",
        "channel to use: its name, its number counted from 1, or grey for the mean of all; several for a model that "
        "takes several, with commas between them; auto takes what the model needs",
    )
    per_slice: bool = option(False, "run a 2D model on every slice of a stack")
    link_slices: float | None = option(
        None,
        "join objects through slices: those of neighbouring slices that overlap by at least this (IoU) "
        "become one; implies per_slice",
        low=0.0,
        high=1.0,
        tasks=("segment",),
    )
    do_3d: bool = option(
        False,
        "on a stack, look at slices along all three axes and find objects in 3D; for 2D models that tell the way to an "
        "object's middle, as nuclei and Cellpose's",
        tasks=("segment",),
    )
    track: bool = option(
        False,
        "follow objects through the frames of a movie: one label is one object, and the table tells its track",
        tasks=("segment",),
    )
    divisions: str = option(
        "tell",
        "of track: whether to tell which objects divide; then the daughters have labels of their own",
        choices=("tell", "ignore"),
        tasks=("segment",),
    )
    mirror: bool = option(
        False, "test-time mirroring: average over mirrored images along the axes the model allows; slower"
    )
    threshold: float | None = option(
        None, "score from which a pixel is foreground", low=0.0, high=1.0, tasks=("segment",)
    )
    flow_threshold: float | None = option(
        None,
        "of models with flows, as Cellpose has them: objects whose flows differ more from those of their shape are "
        "dropped; 0 keeps all; auto follows the card",
        low=0.0,
        high=100.0,
        tasks=("segment",),
    )
    min_size: int | None = option(
        None, "objects with fewer pixels are dropped", low=0, high=10**9, tasks=("segment",)
    )
    classify: str = option(
        "auto",
        "of a classifier: one answer for the whole image, for each tile (a heat map), or for each object; "
        "auto: objects where they are given, else whole",
        choices=CLASSIFY,
        tasks=("classify",),
    )
    objects: str = option(
        "",
        "of a classifier: the objects to classify: a label image, a folder of them, a pattern such as "
        "masks/{name}.tif, a CSV (image, objects), or the name of a model that finds them",
        tasks=("classify",),
    )
    explain: str = option(
        "", "map which pixels speak for a class, and by which method", choices=EXPLAIN, tasks=_SCORED
    )
    target: str = option(
        "",
        "class to explain: its name or number; else what a classifier says, or the first class of a segmentation",
        tasks=_SCORED,
    )
    layer: str = option(
        "", "give features as well, of the image or of its objects: of this layer of the network, or auto"
    )
    pool_frames: bool = option(
        False,
        "features of a movie as one row of all its frames, instead of one for each",
        tasks=("sequence",),
    )
    uncertainty: str = option(
        "",
        "map how unsure the model is: by test-time augmentation or Monte Carlo dropout",
        choices=UNCERTAINTY,
        tasks=_UNSURE,
    )
    count: int | None = option(
        None,
        "of a generator: how many images; auto: one, or one of each class",
        low=1,
        high=100_000,
        tasks=("generate",),
    )
    classes: tuple[str, ...] = option(
        (), "of a generator: the classes to make, in turn; nothing named: all", tasks=("generate",)
    )
    seed: int = option(
        0, "of a generator: the same seed gives the same images", low=0, high=2**31 - 1, tasks=("generate",)
    )
    output: tuple[str, ...] = option(
        (), "what to return; nothing named: what the task gives", choices=OUTPUTS
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        name, _, number = self.device.partition(":")
        if name not in ("auto", "cpu", "cuda", "mps", "xpu") or (number and not number.isdigit()):
            raise OptionError(
                f"The option 'device' is {self.device!r}; expected auto, cpu, cuda, cuda:N, mps or xpu."
            )


def _check(name: str, value: Any, rules: Mapping[str, Any]) -> None:
    if "choices" in rules:
        for one in value if isinstance(value, tuple) else (value,):
            if one not in rules["choices"]:
                raise OptionError(
                    f"The option {name!r} is {one!r}; expected one of {', '.join(filter(None, rules['choices']))}."
                )
    if "low" in rules and value is not None and not rules["low"] <= value <= rules["high"]:
        raise OptionError(f"The option {name!r} is {value}; expected {rules['low']} to {rules['high']}.")


def _read(name: str, kind: str, text: str) -> Any:
    """Read the text of one option as the type that its annotation names."""
    if "None" in kind and text.lower() in ("", "auto", "none"):
        return None
    if kind == "bool":
        if text.lower() not in ("", "true", "false", "yes", "no", "1", "0"):
            raise OptionError(f"The option {name!r} is {text!r}; expected true or false.")
        return text.lower() in ("", "true", "yes", "1")  # a bare word switches on
    if kind.startswith("tuple"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    for prefix, number in (("int", int), ("float", float)):
        if kind.startswith(prefix):
            try:
                return number(text)
            except ValueError:
                expected = "a whole number" if number is int else "a number"
                raise OptionError(f"The option {name!r} is {text!r}; expected {expected} or auto.") from None
    return text
