"""What is planned for a network with memory: what a user may ask for, and everything that decides a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepbio.cases.sequence import KINDS, Clip
from deepbio.errors import ImageError, OptionError
from deepbio.networks.recurrent import CELLS
from deepbio.options import Options, option
from deepbio.training.fitting_data import apart, check_fits, names_apart
from deepbio.training.start import started_from, steps_of

__all__ = [
    "LEARNED",
    "Plan",
    "Wishes",
    "check_network_plan",
    "make_network_plan",
    "settle_kind",
]

LEARNED = ("memory", "decoder", "all")
_NORMALISATION = {
    "id": "scale_range",
    "kwargs": {"axes": ["channel", "y", "x"], "min_percentile": 1.0, "max_percentile": 99.8},
}
_FEATURES = (16, 32, 64, 96)


@dataclass(frozen=True)
class Wishes(Options):
    """What a user may ask of a new plan; None (or "auto") means: as the data say."""

    kind: str = option("auto", "what is learned; auto: as the columns say", choices=("auto", *KINDS))
    cell: str = option("lstm", "kind of memory", choices=CELLS)
    bidirectional: bool = option(
        False, "also look at later frames; more exact, but nothing for streams of frames"
    )
    start: str = option("", "a segmentation model (2D U-Net) whose weights the network begins with")
    learn: str = option(
        "auto", "what is fitted; auto: with 'start' the memory, else all", choices=("auto", *LEARNED)
    )
    memory_share: float = option(
        1.0,
        "with 'learn' memory, part of what the memory learned to add that is kept",
        low=0.0,
        high=1.0,
    )
    frames: int | None = option(None, "frames of a window; default: up to 20", low=2, high=512)
    cyclic: bool = option(False, "the last frame is followed by the first, as in a heart cycle")
    smooth: float = option(
        0.0, "standard deviation in frames of a Gaussian over the scores in time", low=0.0, high=20.0
    )
    harmonics: int = option(
        0,
        "with 'cyclic', keep so many waves in time of the distance to the border (2 for a heart); 0: all",
        low=0,
        high=100,
    )
    ejection: bool = option(False, "tell end-diastole, end-systole and the ejection fraction")
    consistency: float = option(
        0.1, "weight of the loss on jumps between neighbouring frames", low=0.0, high=1000.0
    )
    teach: bool = option(
        True, "with 'start', unlabelled frames learn from what that model says of them, steadied in time"
    )
    patch: int | None = option(None, "edge of the training patches in pixels", low=16, high=1024)
    steps: int | None = option(None, "training steps; default: by the data", low=1, high=10**7)
    seed: int = option(0, "of every random draw", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run.

    Attributes
    ----------
    kind : str
        ``"segment"``, ``"per-frame"`` or ``"per-sequence"``.
    channels : int
        Of a frame.
    classes : tuple of str
        Names; of a segmentation without the background.
    network : dict
        ``name`` and ``arguments``, as on cards.
    start : str
        Model whose U-Net the network begins with; empty for none.
    learn : str
        ``"memory"`` (the U-Net stays), ``"decoder"`` or ``"all"``.
    memory_share : float
        Part of what the memory learned to add that is kept; below 1 only where ``learn`` is ``"memory"``.
    frames : int
        Of a window, in training and later.
    clip : int
        Frames of a training clip, at most `frames`.
    patch : tuple of int
        Size of the training patches (y, x).
    batch : int
        Clips of a step.
    cyclic, smooth, harmonics, ejection, consistency, teach
        As in `Wishes`.
    animate : float
        Share of the clips that are made from one labelled frame by moving and beating it.
    beat : float
        Largest relative change of size of an object in such a clip.
    rotation, scale : float, (float, float)
        Of the augmentation: largest angle in degrees, and zoom.
    normalisation : list of dict
        Steps of BioImage.IO for each frame.
    grid : dict
        As on cards.
    steps, learning_rate, weight_decay, ema, validate_every, seed
        As in `deepbio.training.loop.Schedule`.
    """

    kind: str
    channels: int
    classes: tuple[str, ...]
    network: dict[str, Any]
    start: str = ""
    learn: str = "all"
    memory_share: float = 1.0
    frames: int = 20
    clip: int = 10
    patch: tuple[int, int] = (128, 128)
    batch: int = 2
    cyclic: bool = False
    smooth: float = 0.0
    harmonics: int = 0
    ejection: bool = False
    consistency: float = 0.1
    teach: bool = False
    animate: float = 0.5
    beat: float = 0.35
    rotation: float = 30.0
    scale: tuple[float, float] = (0.8, 1.25)
    normalisation: list[dict[str, Any]] = field(default_factory=list)
    grid: dict[str, Any] = field(default_factory=dict)
    steps: int = 1000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema: float = 0.99
    validate_every: int = 200
    seed: int = 0


def settle_kind(asked: str, classes: Sequence[Sequence[str]], labelled: bool) -> str:
    """What is learned, by the columns of the data set."""
    if asked != "auto":
        return asked
    if labelled:
        return "segment"
    return "per-frame" if any(len(one) > 1 for one in classes) else "per-sequence"


def make_network_plan(
    clips: Sequence[Clip], kind: str, wishes: Wishes, names: Mapping[int, str]
) -> tuple[Plan, dict[str, Any]]:
    """Plan from the training part.

    Raises
    ------
    ImageError
        If frames differ in channels, or there is only one class.
    """
    if wishes.harmonics and not wishes.cyclic:
        raise OptionError(f"harmonics={wishes.harmonics} is of a cycle.", "Set cyclic=true, or leave it out.")
    learn = wishes.learn if wishes.learn != "auto" else ("memory" if wishes.start else "all")
    if wishes.memory_share < 1 and (learn != "memory" or kind != "segment"):
        raise OptionError(
            f"memory_share={wishes.memory_share:g} is for a memory that is learned alone.",
            "Name a model to begin with (start), or leave it out.",
        )
    channels, facts = _measure(clips, kind)
    longest = facts["frames"][-1]
    window = wishes.frames or max(2, min(20, longest if longest > 1 else 10))
    classes = _classes(clips, kind, names)
    steps = wishes.steps or int(np.clip(100 * len(clips), 500, 20000))
    network, base = _network(kind, channels, len(classes), wishes)
    divisor = 2 ** (len(network["arguments"]["features"]) - 1)
    edge = wishes.patch or min(128, *facts["size"])
    patch = max(divisor, edge // divisor * divisor)
    plan = Plan(
        kind=kind,
        channels=network["arguments"]["in_channels"],
        classes=classes,
        network=network,
        start=wishes.start,
        learn=learn,
        memory_share=wishes.memory_share,
        frames=window,
        clip=min(10, window) if kind == "segment" else window,
        patch=(patch, patch),
        batch=2 if kind == "segment" else 4,
        cyclic=wishes.cyclic,
        smooth=wishes.smooth,
        harmonics=wishes.harmonics,
        ejection=wishes.ejection,
        consistency=wishes.consistency,
        teach=bool(wishes.start) and wishes.teach,
        normalisation=base.get("normalisation", [_NORMALISATION]),
        grid=base.get("grid", {}),
        steps=steps,
        validate_every=max(1, min(500, steps // 5)),
        seed=wishes.seed,
    )
    return plan, facts


def check_network_plan(clips: Sequence[Clip], plan: Plan, names: Mapping[int, str]) -> dict[str, Any]:
    """The facts of the training part, for a plan that is given.

    Parameters
    ----------
    clips : sequence of Clip
        Read as the plan's kind says.
    plan : Plan
        To be checked against them.
    names : mapping of int to str
        Classes of the description, where there is one.

    Raises
    ------
    ImageError
        If nothing can be learned from the clips.
    InputMismatch
        If their classes or channels are not those of the plan.
    """
    channels, facts = _measure(clips, plan.kind)
    found = _classes(clips, plan.kind, names)
    if plan.kind != "segment":
        classes = names_apart("classes", plan.classes, found)
    elif names or len(plan.classes) > len(found):
        classes = apart("number of classes", len(plan.classes), len(found))
    else:
        classes = ""  # labels above the plan's classes are background, as a description may have had it
    check_fits(classes, apart("channels", plan.channels, channels))
    return facts


def _measure(clips: Sequence[Clip], kind: str) -> tuple[int, dict[str, Any]]:
    """The channels of all frames, and what else there is to know."""
    lengths = [len(clip.pixels) for clip in clips]
    channels = {clip.pixels.shape[1] for clip in clips}
    if len(channels) > 1:
        raise ImageError(f"The sequences have {sorted(channels)} channels; expected one number for all.")
    if kind != "segment" and max(lengths) < 2:
        raise ImageError(
            "Every sequence has a single frame; a network with memory needs at least 2.",
            "Train with --task classify.",
        )
    return channels.pop(), {
        "clips": len(clips),
        "frames": [min(lengths), int(np.median(lengths)), max(lengths)],
        "size": [int(np.median([c.pixels.shape[axis] for c in clips])) for axis in (2, 3)],
        "labelled_frames": sum(len(clip.labelled) for clip in clips),
        "classes": dict(Counter(name for clip in clips for name in clip.classes if name)),
    }


def _classes(clips: Sequence[Clip], kind: str, names: Mapping[int, str]) -> tuple[str, ...]:
    if kind == "segment":
        highest = max((int(clip.labels.max()) for clip in clips if clip.labels is not None), default=0)
        if highest < 1:
            raise ImageError("The labelled frames have no label above 0.", "Label something.")
        # what a description names is learned, what it leaves out is background
        count = max(names, default=0) or highest
        return tuple(names.get(label, f"class_{label}") for label in range(1, count + 1))
    found = tuple(sorted({name for clip in clips for name in clip.classes if name}))
    if len(found) < 2:
        raise ImageError(f"The sequences have only the class {found}; expected at least 2.")
    return found


def _network(kind: str, channels: int, classes: int, wishes: Wishes) -> tuple[dict[str, Any], dict[str, Any]]:
    memory = {"cell": wishes.cell, "bidirectional": wishes.bidirectional}
    if kind != "segment":
        if wishes.start:
            raise OptionError("'start' is for kind=segment.", "Leave it out.")
        per = kind.removeprefix("per-")
        arguments = {"in_channels": channels, "out_channels": classes, "per": per, "hidden": 48, **memory}
        return {
            "name": "sequence_classifier",
            "arguments": {**arguments, "features": list(_FEATURES[:3])},
        }, {}
    base: dict[str, Any] = {}
    arguments = {
        "in_channels": channels,
        "out_channels": classes + 1,
        "features": list(_FEATURES),
        "norm": "batch",
    }
    if wishes.start:
        card, known = started_from(wishes.start, 2)
        if known["out_channels"] != classes + 1 or known["in_channels"] != channels:
            raise OptionError(
                f"The model {wishes.start!r} takes {known['in_channels']} channels and knows "
                f"{known['out_channels'] - 1} classes; the data has {channels} and {classes}."
            )
        arguments = {k: v for k, v in known.items() if k not in ("dims", "deep_supervision")}
        base = {"normalisation": steps_of(card), "grid": dict(card.deepbio.get("grid", {}))}
    features: Any = arguments["features"]
    level = min(2, len(features) - 1)
    arguments |= {"levels": [level], "hidden": [24], **memory}
    return {"name": "sequence_unet", "arguments": arguments}, base
