"""The plan of a generator: what a user may ask, what follows from the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.cases.classify import ClassCase, is_class_data, load_pixels
from deepbio.cases.generate import load_pair, read_class_parts, read_pair_parts
from deepbio.errors import ImageError, OptionError
from deepbio.options import Options, option
from deepbio.tasks.conditions import CONDITIONS
from deepbio.training.adversarial import AdversarialSchedule
from deepbio.training.description import Description
from deepbio.training.fitting_data import apart, check_fits, names_apart
from deepbio.training.generate_flow import FlowSchedule
from deepbio.training.judging import judge_arguments

__all__ = ["Plan", "Wishes", "check_plan", "make_plan"]

_CODE = 8  # channels of the codes of a flow, of an eighth of the image's edge
_GUIDANCE = 3.0  # of a flow; of blood cells 2 to 3 were nearest to real images


@dataclass(frozen=True)
class Wishes(Options):
    """What a user may ask of a new plan."""

    kind: str = option(
        "auto",
        "class: images of classes; paired: images from masks; cycle: the first of two classes into the second, "
        "without pairs; auto: as the data looks",
        choices=("auto", "class", "paired", "cycle"),
    )
    method: str = option(
        "auto",
        "class: flow: from noise to codes of images, which learns more of few images; adversarial: a generator "
        "against a discriminator, smaller and faster to run; auto: flow, but adversarial where 'judge' or 'naming' "
        "is set",
        choices=("auto", "flow", "adversarial"),
    )
    size: int | None = option(
        None, "edge of the images (class: 16, 32, 64, 128 or 256) or pieces (paired)", low=16, high=256
    )
    names: tuple[str, ...] = option((), "class: better names for the data's classes, such as 0=normal")
    group: str = option("", "paired: learn from this group of the cases only")
    turn: bool = option(True, "class: images may be turned and mirrored")
    batch: int | None = option(None, "images in a batch; default: 32 (class) or 8 (paired)", low=2, high=512)
    width: int | None = option(
        None, "channels of the widest layers; default: 128 (class) or 64 (paired)", low=8, high=1024
    )
    likeness: float | None = option(
        None,
        "weight of likeness to the real image; default: 3 (flow), 20 (adversarial), 2 (paired) or 5 (cycle)",
        low=0.0,
        high=1000.0,
    )
    naming: float | None = option(
        None, "class: weight of being named right; default: 0.5, with 'judge' 0.1", low=0.0, high=100.0
    )
    judge: str = option(
        "",
        "class: a classifier of ours through whose features the discriminator looks, so that far fewer steps are "
        "needed; best one that knows the same classes",
    )
    steps: int | None = option(
        None,
        "training steps; default: 20000 (flow, after an eighth as many of its coder), 6000 (adversarial) or 3000 "
        "(paired)",
        low=1,
        high=10**7,
    )
    seed: int = option(0, "of every random draw", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run.

    Attributes
    ----------
    kind : {"class", "paired", "cycle"}
        What is made of what.
    classes : tuple of str
        Of a generator of classes, as on the card.
    labels : tuple of str
        What the data calls them, in the same order.
    group : str
        Of the cases of pairs.
    channels, size : int
        Of the images; of pairs the edge of a piece.
    latent : int
        Random numbers that an image follows from.
    network, rival : mapping
        Generator and discriminator: ``name`` and ``arguments``.
    batch : int
        Images at once.
    method : {"adversarial", "flow"}
        How images of classes are made.
    schedule : AdversarialSchedule
        How long and how fast; of a flow, its coder.
    flow : mapping
        Of `FlowSchedule`, for a flow; else empty.
    changes : tuple of str
        Differentiable augmentation.
    turn : bool
        Whether images are turned and mirrored.
    naming, likeness, coding : float
        Weights of the losses, see `ClassGame` and `PairedGame`.
    judge : str
        Classifier whose features the discriminator of classes sees; empty for none.
    """

    kind: str
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    group: str
    channels: int
    size: int
    latent: int
    network: Mapping[str, Any]
    rival: Mapping[str, Any]
    batch: int
    changes: tuple[str, ...]
    turn: bool
    naming: float
    likeness: float
    coding: float
    judge: str = ""
    method: str = "adversarial"
    schedule: AdversarialSchedule = field(default_factory=AdversarialSchedule)
    flow: Mapping[str, Any] = field(default_factory=dict)


def make_plan(data: Path, wishes: Options, about: Description) -> tuple[Plan, dict[str, Any]]:
    """A plan from the data, and what it came from.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on.
    OptionError
        If the size is none that a generator of classes can have.
    """
    assert isinstance(wishes, Wishes)  # noqa: S101 - for the type checker
    kind = wishes.kind
    if kind == "auto":
        kind = "class" if is_class_data(data) else "paired"
    if kind == "cycle":
        return _plan_cycle(data, wishes)
    return _plan_classes(data, wishes) if kind == "class" else _plan_pairs(data, wishes)


def check_plan(data: Path, plan: Plan, about: Description) -> dict[str, Any]:
    """What the data is, for a plan that is given.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on, or its classes or channels are not those of the plan.
    """
    if plan.kind == "paired":
        train, val = read_pair_parts(data, plan.group)
        return _told(train, val, load_pair(train[0])[0])
    parts = read_class_parts(data)
    first = _first_image(parts[0][0])
    check_fits(
        names_apart("classes", plan.labels, parts[2]), apart("channels", plan.channels, int(first.shape[0]))
    )
    return _told(parts[0], parts[1], first, classes=_counts(parts[0], parts[2]))


def _told(train: Sequence[Any], val: Sequence[Any], first: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"train": len(train), "val": len(val), **more, "first_shape": list(first.shape)}


def _counts(cases: Sequence[ClassCase], labels: Sequence[str]) -> dict[str, int]:
    tally = Counter(case.class_name for case in cases)
    return {label: tally[label] for label in labels}


def _first_image(case: ClassCase) -> np.ndarray:
    pixels = load_pixels(case)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ImageError(
            f"{str(case.image)!r} has shape {pixels.shape} (channels first); expected 1 or 3 channels in 2D."
        )
    return pixels


def _plan_classes(data: Path, wishes: Wishes) -> tuple[Plan, dict[str, Any]]:
    train, val, labels = read_class_parts(data)
    classes = _renamed(labels, wishes.names)
    first = _first_image(train[0])
    size = wishes.size or 64
    if size not in (16, 32, 64, 128, 256):
        raise OptionError(f"The size is {size}; a generator of classes makes 16, 32, 64, 128 or 256 pixels.")
    features = _features(size, wishes.width or 128)
    shape = {"features": list(features), "patch": 2}
    latent, channels = 64, int(first.shape[0])
    plan = Plan(
        kind="class",
        classes=classes,
        labels=labels,
        group="",
        channels=channels,
        size=size,
        latent=latent,
        network={
            "name": "style_generator",
            "arguments": {"latent": latent, "classes": len(classes), "out_channels": channels, **shape},
        },
        rival={
            "name": "style_discriminator",
            "arguments": {"classes": len(classes), "in_channels": channels, **shape},
        },
        batch=wishes.batch or 32,
        schedule=AdversarialSchedule(wishes.steps or 6000, beta=0.5, seed=wishes.seed),
        changes=("colour", "shift", "cut"),
        turn=wishes.turn,
        naming=0.5 if wishes.naming is None else wishes.naming,
        likeness=20.0 if wishes.likeness is None else wishes.likeness,
        coding=0.005,
    )
    asked = [name for name in ("judge", "naming") if getattr(wishes, name) not in ("", None)]
    if wishes.method == "flow" and asked:
        raise OptionError(
            f"'{asked[0]}' is of the method 'adversarial'; the method is 'flow'.", "Leave one of them out."
        )
    if wishes.method == "flow" or (wishes.method == "auto" and not asked):
        plan = _flowing(plan, wishes)
    elif wishes.judge:
        plan = _judged(plan, wishes)
    return plan, _told(train, val, first, classes=_counts(train, labels))


def _flowing(plan: Plan, wishes: Wishes) -> Plan:
    """The plan with a flow among codes of an eighth of the image's edge."""
    wide = wishes.width or 128
    edge = plan.size // 8
    schedule = FlowSchedule() if wishes.steps is None else FlowSchedule(wishes.steps)
    return replace(
        plan,
        method="flow",
        latent=_CODE * edge * edge,
        network={
            "name": "flow_generator",
            "arguments": {
                "classes": len(plan.classes),
                "channels": plan.channels,
                "code": _CODE,
                "edge": edge,
                "features": [wide, wide * 3 // 4, wide * 3 // 8],
                "field": [wide * 3 // 4, wide * 5 // 4],
                "steps": 20,
                "guidance": _GUIDANCE,
            },
        },
        rival={"name": "patch_discriminator", "arguments": {"in_channels": plan.channels}},
        changes=(),
        naming=0.0,
        likeness=3.0 if wishes.likeness is None else wishes.likeness,
        coding=0.0,
        schedule=AdversarialSchedule(
            max(1, schedule.steps // 8),
            learning_rate=5e-4,
            beta=0.5,
            r1=0.0,
            average_images=5000,
            seed=wishes.seed,
        ),
        flow=asdict(schedule),
    )


def _judged(plan: Plan, wishes: Wishes) -> Plan:
    """The plan with a discriminator that looks through a classifier; an encoder is not needed then."""
    seen = judge_arguments(wishes.judge, plan.classes, plan.channels)
    known = bool(seen["order"])
    naming = (0.1 if known else 0.0) if wishes.naming is None else wishes.naming
    if naming and not known:
        raise OptionError(
            f"The model {wishes.judge!r} does not know the classes {', '.join(plan.classes)}, so it cannot name them.",
            "Set naming=0, choose another judge, or give the data's classes its names with 'names'.",
        )
    return replace(
        plan,
        rival={"name": "projected_discriminator", "arguments": {"classes": len(plan.classes), **seen}},
        schedule=replace(plan.schedule, beta=0.0, rival_rate=0.2, r1=0.0),
        naming=naming,
        likeness=0.0 if wishes.likeness is None else wishes.likeness,
        coding=0.0 if not wishes.likeness else plan.coding,
        judge=wishes.judge,
    )


def _renamed(labels: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Names for the card."""
    better = dict(name.partition("=")[::2] for name in names)
    unknown = [label for label in better if label not in labels]
    if unknown:
        raise OptionError(
            f"There is no class {unknown[0]!r} to rename.", f"The data has {', '.join(labels)}."
        )
    return tuple(better.get(label) or label for label in labels)


def _features(size: int, width: int) -> tuple[int, ...]:
    """Channels from 4 x 4 pixels up: wide, then narrower where the maps are large."""
    levels = int(np.log2(size // 8)) + 1
    narrow = (1.0, 1.0, 0.75, 0.375, 0.25, 0.125)
    return tuple(max(8, round(width * part)) for part in narrow[:levels])


def _plan_cycle(data: Path, wishes: Wishes) -> tuple[Plan, dict[str, Any]]:
    base, facts = _plan_classes(data, wishes.replace(method="adversarial"))
    if len(base.labels) != 2:
        raise OptionError(
            f"A translation is from one class to another; the data has {', '.join(base.labels)}.",
            "Give a data set of two classes; names=... tells them apart on the card.",
        )
    width = wishes.width or 64
    shape = {"dims": 2, "in_channels": base.channels, "out_channels": base.channels}
    plan = replace(
        base,
        kind="cycle",
        latent=0,
        network={
            "name": "unet",
            "arguments": {**shape, "features": [width // 4, width // 2, width]},
        },
        rival={"name": "patch_discriminator", "arguments": {"in_channels": base.channels}},
        batch=wishes.batch or 8,
        changes=(),
        naming=0.0,
        likeness=5.0 if wishes.likeness is None else wishes.likeness,
        coding=0.0,
        schedule=AdversarialSchedule(
            wishes.steps or 3000, learning_rate=5e-4, beta=0.5, r1=0.1, average_images=2000, seed=wishes.seed
        ),
    )
    return plan, facts


def _plan_pairs(data: Path, wishes: Wishes) -> tuple[Plan, dict[str, Any]]:
    train, val = read_pair_parts(data, wishes.group)
    pixels, _ = load_pair(train[0])
    size = wishes.size or 96
    if size % 4:
        raise OptionError(f"The size is {size}; pieces need a multiple of 4 pixels.")
    width = wishes.width or 64
    plan = Plan(
        kind="paired",
        classes=(),
        labels=(),
        group=wishes.group,
        channels=1,
        size=size,
        latent=0,
        network={
            "name": "unet",
            "arguments": {
                "dims": 2,
                "in_channels": len(CONDITIONS),
                "out_channels": 1,
                "features": [width // 4, width // 2, width],
            },
        },
        rival={"name": "patch_discriminator", "arguments": {"in_channels": len(CONDITIONS)}},
        batch=wishes.batch or 8,
        schedule=AdversarialSchedule(
            wishes.steps or 3000,
            learning_rate=5e-4,
            rival_rate=2.0,
            beta=0.5,
            r1=0.0,
            average_images=2000,
            seed=wishes.seed,
        ),
        changes=(),
        turn=True,
        naming=0.0,
        likeness=2.0 if wishes.likeness is None else wishes.likeness,
        coding=0.0,
    )
    return plan, _told(train, val, pixels)
