"""``deepbio train --task generate``: generators of classes, and of images from masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepbio.cases.classify import is_class_data, load_pixels
from deepbio.cases.generate import class_pixels, load_pair, read_class_parts, read_pair_parts
from deepbio.errors import ImageError, OptionError
from deepbio.events import Listener, Notice, Stage
from deepbio.io import atomic
from deepbio.library.package import write_package
from deepbio.networks import build
from deepbio.options import Options, option
from deepbio.predict import load_model
from deepbio.tasks.conditions import CONDITIONS, Appearance, measure_appearance
from deepbio.tasks.random_masks import measure_masks
from deepbio.training.adversarial import Adversarial, AdversarialSchedule
from deepbio.training.description import Description
from deepbio.training.families import Job
from deepbio.training.generate_class import ClassBatches, ClassGame
from deepbio.training.generate_package import Pieces, generator_content
from deepbio.training.generate_paired import Pair, PairedBatches, PairedGame

__all__ = ["Plan", "Wishes", "make_plan", "matches", "train_plan"]

_SHOWN = 6  # pairs on a sheet
_APPEARANCES = 64  # kept on a card
_MASKS = 256  # edge of masks made at random


@dataclass(frozen=True)
class Wishes(Options):
    """What a user may ask of a new plan."""

    kind: str = option(
        "auto",
        "class: images of classes; paired: images from masks; auto: as the data looks",
        choices=("auto", "class", "paired"),
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
        None, "weight of likeness to the real image; default: 4 (class) or 2 (paired)", low=0.0, high=1000.0
    )
    naming: float = option(0.5, "class: weight of being named right", low=0.0, high=100.0)
    steps: int | None = option(
        None, "training steps; default: 6000 (class) or 3000 (paired)", low=1, high=10**7
    )
    seed: int = option(0, "of every random draw", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run.

    Attributes
    ----------
    kind : {"class", "paired"}
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
    schedule : AdversarialSchedule
        How long and how fast.
    changes : tuple of str
        Differentiable augmentation.
    turn : bool
        Whether images are turned and mirrored.
    naming, likeness, coding : float
        Weights of the losses, see `ClassGame` and `PairedGame`.
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
    schedule: AdversarialSchedule = field(default_factory=AdversarialSchedule)


def matches(data: Path) -> bool:
    """Never: the same data train classifiers and segmenters, so generation is asked for by name."""
    return False


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
    return _plan_classes(data, wishes) if kind == "class" else _plan_pairs(data, wishes)


def _plan_classes(data: Path, wishes: Wishes) -> tuple[Plan, dict[str, Any]]:
    train, val, labels = read_class_parts(data)
    classes = _renamed(labels, wishes.names)
    first = load_pixels(train[0])
    if first.ndim != 3 or first.shape[0] not in (1, 3):
        raise ImageError(
            f"{str(train[0].image)!r} has shape {first.shape} (channels first); expected 1 or 3 channels in 2D."
        )
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
        schedule=AdversarialSchedule(wishes.steps or 6000, seed=wishes.seed),
        changes=("colour", "shift", "cut"),
        turn=wishes.turn,
        naming=wishes.naming,
        likeness=4.0 if wishes.likeness is None else wishes.likeness,
        coding=0.002,
    )
    counts = {name: sum(case.class_name == name for case in train) for name in labels}
    return plan, {"train": len(train), "val": len(val), "classes": counts, "first_shape": list(first.shape)}


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
    return plan, {"train": len(train), "val": len(val), "first_shape": list(pixels.shape)}


def train_plan(data: Path, plan: Plan, about: Description, job: Job) -> Path:
    """Fit and package; go on where a run was stopped.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be used.
    WeightsError
        If the checkpoint is of another plan.
    """
    torch.manual_seed(plan.schedule.seed)
    generator = build(plan.network["name"], plan.network["arguments"])
    pieces = _fit_classes if plan.kind == "class" else _fit_pairs
    network, config, sample = pieces(generator, data, plan, job)
    with generator_content(network, plan, sample, config, about) as content:
        curve = job.work / "history.png"
        if curve.exists():
            content = replace(content, files={**content.files, "training.png": curve})
        write_package(job.output, content, replace=True)
        rows = _scores(data, job)
        write_package(job.output, replace(content, scores=rows), replace=True)
    return job.output


def _scores(data: Path, job: Job) -> list[Mapping[str, Any]]:
    from deepbio.evaluation.generate import evaluate_cases
    from deepbio.options import RunOptions

    job.listener(Notice("Comparing what it makes with the held-out images."))
    report = evaluate_cases(load_model(job.output), data, "val", RunOptions(), on_progress=job.listener)
    return list(report.summary)


Fitted = tuple[nn.Module, dict[str, Any], Pieces]


def _fit_classes(generator: nn.Module, data: Path, plan: Plan, job: Job) -> Fitted:
    train, _, _ = read_class_parts(data, plan.labels)
    cache = job.work / f"images_{plan.size}.npy"
    if cache.exists():
        images = np.load(cache, allow_pickle=False)
    else:
        job.listener(Notice(f"Reading {len(train)} images."))
        images = class_pixels(train, plan.size, plan.channels)
        job.work.mkdir(parents=True, exist_ok=True)
        with atomic(cache) as temporary, temporary.open("wb") as file:
            np.save(file, images, allow_pickle=False)
    labels = np.array([plan.labels.index(case.class_name) for case in train])
    arguments = {**plan.rival["arguments"], "classes": plan.latent}
    both = nn.ModuleDict({"generator": generator, "encoder": build(plan.rival["name"], arguments)})
    rival = build(plan.rival["name"], plan.rival["arguments"])
    game = ClassGame(
        plan.latent,
        len(plan.classes),
        plan.changes,
        plan.naming,
        plan.likeness,
        plan.coding,
        plan.schedule.seed,
    )
    batches = ClassBatches(images, labels, plan.batch, plan.schedule.seed, plan.turn)
    loop = Adversarial(both, rival, plan.schedule, torch.device(job.device.name), game)
    fitted, _ = loop.fit(batches, job.work, job.listener)
    assert isinstance(fitted, nn.ModuleDict)  # noqa: S101 - for the type checker
    config = {
        "generator": {"kind": "class", "latent": plan.latent},
        "classes": {number: {"name": name} for number, name in enumerate(plan.classes, start=1)},
    }
    return fitted["generator"], config, Pieces(latent=plan.latent, classes=plan.classes)


def _fit_pairs(generator: nn.Module, data: Path, plan: Plan, job: Job) -> Fitted:
    train, val = read_pair_parts(data, plan.group)
    pairs, held = _pairs(train, job.listener), _pairs(val, job.listener)
    if not pairs or not held:
        raise ImageError("No image of a part shows its objects brighter than its background.")
    rival = build(plan.rival["name"], plan.rival["arguments"])
    parts = next(iter(PairedBatches(held, plan.size, _SHOWN, 1)(0, 1)))
    shown = np.concatenate([parts["conditions"].numpy(), parts["images"].numpy()], 1)
    batches = PairedBatches(pairs, plan.size, plan.batch, plan.schedule.seed)
    game = PairedGame(plan.likeness, shown)
    loop = Adversarial(generator, rival, plan.schedule, torch.device(job.device.name), game)
    fitted, _ = loop.fit(batches, job.work, job.listener)
    random = np.random.default_rng(plan.schedule.seed)
    chosen = random.permutation(len(pairs))[:_APPEARANCES]
    looks = [pairs[i].appearance for i in sorted(chosen.tolist())]
    config = {
        "generator": {
            "kind": "paired",
            "appearances": [[round(v, 4) for v in _row(one)] for one in looks],
            "masks": measure_masks([pair.labels for pair in pairs], _MASKS).to_card(),
        }
    }
    return fitted, config, Pieces(conditions=shown[:1, :-1])


def _row(look: Appearance) -> tuple[float, float, float]:
    return look.background, look.foreground, look.spread


def _pairs(cases: Any, listener: Listener) -> list[Pair]:
    """The pairs that show something, in memory."""
    stage = Stage(listener, "read", len(cases))
    pairs = []
    for case in cases:
        pixels, labels = load_pair(case)
        look = measure_appearance(pixels, labels)
        if look is not None:
            pairs.append(Pair.of(pixels, labels, look))
        stage.step()
    return pairs
