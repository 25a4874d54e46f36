"""The plan of a classifier's training, from the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.cases import split_cases
from deepbio.cases.classify import ClassCase, class_names, read_class_cases
from deepbio.engine.geometry import GridSpec
from deepbio.errors import ImageError, OptionError
from deepbio.image import Grid
from deepbio.options import Options, option
from deepbio.training.classify_data import Variation
from deepbio.training.classify_facts import measure
from deepbio.training.classify_grid import common_grid, fitting_grid, sizes_on
from deepbio.training.classify_losses import BALANCES
from deepbio.training.description import Description
from deepbio.training.fitting_data import apart, check_fits, names_apart

__all__ = ["Plan", "Wishes", "check_plan", "make_plan"]

_LARGEST = {2: 224, 3: 64}  # edge of the images that a network is given
_WIDTHS = (32, 64, 128, 192)
_BLOCKS = (1, 2, 2, 2)
_PASSES = 40  # through the training images
_STEPS = (600, 20000)
_BATCH = {2: 64, 3: 8}
_UPRIGHT = ("CR", "DX", "CT", "MR", "PT", "MG", "US", "NM", "XA")  # DICOM: bodies lie one way up
_UNEVEN = 2.0  # largest class over smallest, from which on something is done about it
_COARSE = 0.7  # of the steps, where images are
_LARGE_ENOUGH = 64  # pixels
_VALIDATIONS = 14


@dataclass(frozen=True)
class Wishes(Options):
    """What a user may ask of a plan; None and "auto" follow from the data."""

    steps: int | None = option(None, "training steps", low=1, high=10**7)
    seed: int = option(0, "of every random draw", low=0, high=2**31)
    names: tuple[str, ...] = option((), "better names for the data's classes, such as 0=normal,1=pneumonia")
    balance: str = option(
        "auto",
        "what is done about rare classes; auto: sampling where they are uneven",
        choices=("auto", *BALANCES),
    )
    smoothing: float = option(0.1, "label smoothing", low=0.0, high=0.5)
    calibration: str = option(
        "temperature",
        "of the probabilities, on held-out images; bias: also to how frequent the classes are there",
        choices=("temperature", "bias"),
    )
    spacing: str = option(
        "auto",
        "the size of pixels: auto: where all training images have one, images are brought to it; ignore: images "
        "are brought to one number of pixels",
        choices=("auto", "ignore"),
    )
    size: int | None = option(
        None, "longest edge of the network's input; rounded up to what it halves evenly", low=16, high=512
    )
    view: str = option(
        "auto",
        "how images lie: upright ones are hardly turned, others freely; auto: by the modality",
        choices=("auto", "any", "upright"),
    )
    normalise: str = option(
        "auto",
        "by the data set's intensities, or each image's own; auto: dataset for 8-bit images",
        choices=("auto", "dataset", "image"),
    )
    width: float = option(1.0, "factor on the network's feature maps", low=0.25, high=2.0)
    batch: int | None = option(None, "images of a batch", low=2, high=1024)
    learning_rate: float = option(2e-3, "largest", low=1e-6, high=1.0)
    weight_decay: float = option(5e-2, "of AdamW", low=0.0, high=1.0)
    coarse: float | None = option(
        None, "part of the steps in which images are taken at two thirds of their size", low=0.0, high=0.95
    )
    dropout: float = option(0.1, "part of the last vector that is set to 0", low=0.0, high=0.9)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, on the card.
    labels : tuple of str
        What the data calls them, in the same order.
    counts : tuple of int
        Training images of each.
    dims, channels : int
        Spatial axes and channels of the images.
    size : tuple of int
        What every image is resampled to; with `grid`: what is seen of it.
    grid : dict
        Spacing, unit and orientation that images are brought to, as on a card; empty: theirs is not looked at.
    normalise : str
        ``"dataset"``: by `mean` and `std` of each channel; ``"image"``: each image by its own.
    mean, std : tuple of float
        Of the training images.
    network : dict
        Name in NETWORKS and arguments.
    variation : Variation
        How strongly training images vary.
    balance : str
        One of `classify_losses.BALANCES`.
    smoothing : float
        Label smoothing.
    calibration : str
        ``"temperature"``, or ``"bias"`` for a temperature and a bias of each class.
    batch, steps : int
        Images of a batch, and batches.
    coarse_steps : int
        In the first ones images are taken at two thirds of their size, which is faster.
    learning_rate, weight_decay, ema : float
        See `deepbio.training.loop.Schedule`.
    validate_every, seed : int
        Likewise.
    """

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    dims: int
    channels: int
    size: tuple[int, ...]
    normalise: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    network: dict[str, Any]
    grid: dict[str, Any] = field(default_factory=dict)
    variation: Variation = field(default_factory=Variation)
    balance: str = "none"
    smoothing: float = 0.1
    calibration: str = "temperature"
    batch: int = 64
    steps: int = 2000
    coarse_steps: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 5e-2
    ema: float = 0.998
    validate_every: int = 250
    seed: int = 0


# --- the plan -----------------------------------------------------------------------------------


def make_plan(data: Path, wishes: Wishes, about: Description) -> tuple[Plan, dict[str, Any]]:
    """Measure a data set's training part and plan from it.

    Parameters
    ----------
    data : path
        As in `read_class_cases`.
    wishes : Wishes
        What the plan is to follow.
    about : Description
        Its classes name those of the data; its modality says how images lie.

    Raises
    ------
    ImageError
        If there is but one class, or one has no training images.
    InputMismatch
        If images have different channels or axes.
    """
    train, val = split_cases(read_class_cases(data))
    labels = _labels(train, val)
    labels, classes = _classes(labels, about, wishes.names)
    tally = Counter(case.class_name for case in train)
    counts = tuple(tally[label] for label in labels)
    facts, grids = measure(train)
    dims, channels = facts["dims"], facts["channels"]
    size, spec = _input(facts["median_size"], grids, wishes)
    batch = wishes.batch or max(2, min(_BATCH[dims], len(train) // 4))
    steps = wishes.steps or int(np.clip(_PASSES * len(train) // batch, *_STEPS))
    coarse = wishes.coarse
    if coarse is None:
        coarse = _COARSE if min(size[-2:]) >= _LARGE_ENOUGH else 0.0
    plan = Plan(
        classes=classes,
        labels=labels,
        counts=counts,
        dims=dims,
        channels=channels,
        size=size,
        normalise=_normalise(wishes.normalise, facts["type"]),
        mean=facts["mean"],
        std=facts["std"],
        network=_network(dims, channels, len(classes), size, wishes),
        grid=spec.to_card(),
        variation=_variation(dims, channels, _upright(wishes.view, about)),
        balance=_balance(wishes.balance, counts),
        smoothing=wishes.smoothing,
        calibration=wishes.calibration,
        batch=batch,
        steps=steps,
        coarse_steps=round(coarse * steps),
        learning_rate=wishes.learning_rate,
        weight_decay=wishes.weight_decay,
        validate_every=max(1, steps // _VALIDATIONS),
        seed=wishes.seed,
    )
    told = {"train": len(train), "val": len(val), "classes": dict(zip(classes, counts, strict=True)), **facts}
    return plan, told


def check_plan(data: Path, plan: Plan, about: Description) -> dict[str, Any]:
    """Measure the training part for a plan that is given.

    Raises
    ------
    ImageError
        If there is but one class, or one has no training images.
    InputMismatch
        If images differ from each other in channels or axes, or from the plan in classes, channels, axes
        or, where it normalises by the intensities of bytes, their type.
    """
    train, val = split_cases(read_class_cases(data))
    labels = _labels(train, val)
    _classes(labels, about)  # a description may name a class that has no cases
    facts, _ = measure(train)
    check_fits(
        names_apart("classes", plan.labels, labels),
        apart("channels", plan.channels, facts["channels"]),
        apart("spatial axes", plan.dims, facts["dims"]),
        apart("type of the pixels", "uint8", facts["type"]) if plan.normalise == "dataset" else "",
    )
    tally = Counter(case.class_name for case in train)
    counts = {label: tally[label] for label in labels}
    return {"train": len(train), "val": len(val), "classes": counts, **facts}


def _labels(train: Sequence[ClassCase], val: Sequence[ClassCase]) -> tuple[str, ...]:
    """What the data calls the classes."""
    labels = class_names([*train, *val])
    if len(labels) < 2:
        raise ImageError(
            f"The data set has the one class {labels[0]!r}; a classifier needs at least two.",
            "Add images of another class.",
        )
    missing = sorted(set(labels) - {case.class_name for case in train})
    if missing:
        raise ImageError(
            f"The class {missing[0]!r} has no training images; it is in the held-out part only.",
            "Add training images of it, or leave it out of the data set.",
        )
    return labels


def _classes(
    labels: tuple[str, ...], about: Description, names: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the data calls the classes, in the order of the description, and what the card will."""
    if names:
        return labels, _renamed(labels, names)
    told = tuple(name for _, name in sorted(about.names.items()))
    if not told or set(told) == set(labels):
        return (told or labels), (told or labels)
    if len(told) == len(labels) and all(label.isdigit() for label in labels):
        return labels, told
    absent = sorted(set(told) - set(labels))
    if set(labels) < set(told):
        raise ImageError(
            f"The class {absent[0]!r} of the description has no cases; the data set has {', '.join(labels)}.",
            "Add images of it, or take it out of the description.",
        )
    # names that are not the data's belong to a plan that renames them; see `Wishes.names`
    return labels, labels


def _renamed(labels: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The labels, with better names for some.

    Examples
    --------
    >>> _renamed(["0", "1"], ["1=pneumonia"])
    ('0', 'pneumonia')
    """
    better = {}
    for pair in names:
        label, equals, name = (part.strip() for part in pair.partition("="))
        if not equals or not name or label not in labels:
            raise OptionError(
                f"The setting 'names' has {pair!r}; expected one of the classes {', '.join(labels)}, '=' and a name."
            )
        better[label] = name
    return tuple(better.get(label, label) for label in labels)


def _input(
    median: tuple[int, ...], grids: Sequence[Grid], wishes: Wishes
) -> tuple[tuple[int, ...], GridSpec]:
    """Size of the network's input, and the grid that images are brought to where they have one spacing."""
    size, spec = _size(median, wishes.size), GridSpec()
    if wishes.spacing == "auto" and (common := common_grid(grids)).spacing:
        size, spec = fitting_grid(sizes_on(grids, common), common, wishes.size, _LARGEST[len(median)])
    return _even(size), spec


def _normalise(asked: str, kind: str) -> str:
    """By the data set's intensities or each image's own; only those of bytes are alike from image to image."""
    if asked == "dataset" and kind != "uint8":
        raise OptionError(f"The images are {kind}; normalise=dataset is for 8-bit images.")
    if asked == "auto":
        return "dataset" if kind == "uint8" else "image"
    return asked


def _balance(asked: str, counts: Sequence[int]) -> str:
    """What is done about rare classes."""
    if asked == "auto":
        return "sampling" if max(counts) >= _UNEVEN * min(counts) else "none"
    return asked


def _size(median: tuple[int, ...], wanted: int | None) -> tuple[int, ...]:
    """The network's input: like most images, but no larger than what can be trained."""
    limit = wanted or _LARGEST[len(median)]
    edge = max(median)
    factor = min(1.0, limit / edge) if wanted is None else limit / edge
    inner = [max(8, round(n * factor)) for n in median[-2:]]
    depth = [min(n, limit) for n in median[:-2]]
    return (*depth, *inner)


def _strides(size: Sequence[int]) -> list[list[int]]:
    """Stages until the maps are about as small as 4 to 7 pixels; thin axes are not reduced further."""
    # small images are not reduced before the first stage
    strides: list[list[int]] = []
    left = list(size)
    for stage in range(len(_WIDTHS)):
        keep = stage == 0 and max(size) < 64
        step = [1 if keep or n < 8 else 2 for n in left]
        if stage and set(step) == {1}:
            break
        strides.append(step)
        left = [-(-n // s) for n, s in zip(left, step, strict=True)]
    return strides


def _even(size: Sequence[int]) -> tuple[int, ...]:
    """The next size that the network halves evenly: maps of its stages then lie exactly on the image.

    Examples
    --------
    >>> _even((11, 25, 19)), _even((96, 96))
    ((12, 28, 20), (96, 96))
    """
    size = tuple(size)
    whole = np.prod(_strides(size), axis=0)
    larger = tuple(int(-(-n // step) * step) for n, step in zip(size, whole, strict=True))
    return size if larger == size else _even(larger)


def _network(dims: int, channels: int, classes: int, size: tuple[int, ...], wishes: Wishes) -> dict[str, Any]:
    strides = _strides(size)
    widths = [max(8, round(w * wishes.width / 8) * 8) for w in _WIDTHS[: len(strides)]]
    if dims == 3:
        widths = [max(8, w // 2) for w in widths]
    return {
        "name": "classifier",
        "arguments": {
            "dims": dims,
            "in_channels": channels,
            "out_channels": classes,
            "features": widths,
            "blocks": list(_BLOCKS[: len(strides)]),
            "strides": strides,
            "dropout": wishes.dropout,
        },
    }


def _upright(view: str, about: Description) -> bool:
    return view == "upright" or (view == "auto" and any(one in _UPRIGHT for one in about.modality))


def _variation(dims: int, channels: int, upright: bool) -> Variation:
    colour = 0.15 if channels == 3 else 0.0
    if upright:
        return Variation(rotation=12.0, zoom=1.15, shift=0.08, colour=colour)
    return Variation(flip=tuple(range(dims)), rotation=180.0, colour=colour)
