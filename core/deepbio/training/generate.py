"""``deepbio train --task generate``: generators of classes, of images from masks, of another kind of image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepbio.cases.generate import class_pixels, load_pair, read_class_parts, read_pair_parts
from deepbio.errors import ImageError
from deepbio.events import Listener, Notice, Stage
from deepbio.io import atomic
from deepbio.networks import build
from deepbio.networks.flow import FlowGenerator
from deepbio.predict import load_model
from deepbio.tasks.conditions import Appearance, measure_appearance
from deepbio.tasks.random_masks import measure_masks
from deepbio.training.adversarial import Adversarial
from deepbio.training.description import Description
from deepbio.training.families import Job
from deepbio.training.generate_class import ClassBatches, ClassGame
from deepbio.training.generate_cycle import CycleBatches, CycleGame
from deepbio.training.generate_flow import CoderGame, FlowLearner, FlowSchedule, make_codes
from deepbio.training.generate_package import Pieces, generator_content
from deepbio.training.generate_paired import Pair, PairedBatches, PairedGame
from deepbio.training.generate_plan import Plan, Wishes, check_plan, make_plan
from deepbio.training.judging import look_through
from deepbio.training.packaging import training_picture, write_scored

__all__ = ["Plan", "Wishes", "check_plan", "make_plan", "matches", "train_plan"]

_SHOWN = 6  # pairs on a sheet
_CODED = 12  # images on a sheet of a coder
_APPEARANCES = 64  # kept on a card
_MASKS = 256  # edge of masks made at random


def matches(data: Path) -> bool:
    """Never: the same data train classifiers and segmenters, so generation is asked for by name."""
    return False


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
    fits = {"class": _fit_classes, "paired": _fit_pairs, "cycle": _fit_cycle}
    fit = _fit_flow if plan.method == "flow" else fits[plan.kind]
    network, config, sample = fit(generator, data, plan, job)
    with generator_content(network, plan, sample, config, about) as content:
        content = replace(content, files={**content.files, **training_picture(job.work)})
        write_scored(job.output, content, lambda: _scores(data, job))
    return job.output


def _scores(data: Path, job: Job) -> list[Mapping[str, Any]]:
    from deepbio.evaluation.generate import evaluate_cases
    from deepbio.options import RunOptions

    job.listener(Notice("Comparing what it makes with the held-out images."))
    report = evaluate_cases(load_model(job.output), data, "val", RunOptions(), on_progress=job.listener)
    return list(report.summary)


Fitted = tuple[nn.Module, dict[str, Any], Pieces]


def _images(data: Path, plan: Plan, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Images of classes and their numbers; read once for a run."""
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
    return images, np.array([plan.labels.index(case.class_name) for case in train])


def _fit_cycle(generator: nn.Module, data: Path, plan: Plan, job: Job) -> Fitted:
    images, labels = _images(data, plan, job)
    other = build(plan.network["name"], plan.network["arguments"])
    both = nn.ModuleDict({"there": generator, "back": other})
    rivals = nn.ModuleDict(
        {way: build(plan.rival["name"], plan.rival["arguments"]) for way in ("there", "back")}
    )
    shown = images[labels == 0][:_SHOWN].astype(np.float32) / 127.5 - 1
    batches = CycleBatches(images, labels, plan.batch, plan.schedule.seed, plan.turn)
    game = CycleGame(plan.likeness, shown)
    loop = Adversarial(both, rivals, plan.schedule, torch.device(job.device.name), game)
    fitted, _ = loop.fit(batches, job.work, job.listener)
    assert isinstance(fitted, nn.ModuleDict)  # noqa: S101 - for the type checker
    config = {"generator": {"kind": "cycle", "from": plan.classes[0], "to": plan.classes[1]}}
    return fitted["there"], config, Pieces(pixels=images[labels == 0][:1])


def _fit_classes(generator: nn.Module, data: Path, plan: Plan, job: Job) -> Fitted:
    images, labels = _images(data, plan, job)
    both = nn.ModuleDict({"generator": generator})
    if plan.likeness or not plan.judge:
        shape = {"classes": plan.latent, "in_channels": plan.channels}
        shape |= {name: plan.network["arguments"][name] for name in ("features", "patch")}
        both["encoder"] = build("style_discriminator", shape)
    rival = build(plan.rival["name"], plan.rival["arguments"])
    if plan.judge:
        look_through(rival, plan.judge)
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
    return fitted["generator"], *_of_classes(plan)


def _of_classes(plan: Plan) -> tuple[dict[str, Any], Pieces]:
    """What the card says of a generator of classes, and what its self-test is made of."""
    config = {
        "generator": {"kind": "class", "latent": plan.latent},
        "classes": {number: {"name": name} for number, name in enumerate(plan.classes, start=1)},
    }
    return config, Pieces(latent=plan.latent, classes=plan.classes)


def _fit_flow(generator: nn.Module, data: Path, plan: Plan, job: Job) -> Fitted:
    """The coder, which lies in a folder of its own beside the flow's checkpoint, then the flow."""
    assert isinstance(generator, FlowGenerator)  # noqa: S101 - for the type checker
    images, labels = _images(data, plan, job)
    _, val, _ = read_class_parts(data, plan.labels)
    held = class_pixels(val, plan.size, plan.channels)
    held_labels = np.array([plan.labels.index(case.class_name) for case in val])
    schedule, device = FlowSchedule.of(plan.flow), torch.device(job.device.name)
    shape = {name: plan.network["arguments"][name] for name in ("channels", "code", "features")}
    coder = nn.ModuleDict({"encoder": build("code_encoder", shape), "decoder": generator.decoder})
    rival = build(plan.rival["name"], plan.rival["arguments"])
    game = CoderGame(plan.likeness, held[:: max(1, len(held) // _CODED)])
    loop = Adversarial(coder, rival, plan.schedule, device, game)
    batches = ClassBatches(images, labels, plan.batch, plan.schedule.seed, plan.turn)
    fitted, _ = loop.fit(batches, job.work / "coder", job.listener)
    assert isinstance(fitted, nn.ModuleDict)  # noqa: S101 - for the type checker
    generator.decoder.load_state_dict(fitted["decoder"].state_dict())
    codes = make_codes(fitted["encoder"].to(device), images, labels, turn=plan.turn)
    held_codes = make_codes(fitted["encoder"], held, held_labels, turn=False)
    learner = FlowLearner(generator, schedule, plan.schedule.seed, device)
    return learner.fit(codes, held_codes, job.work, job.listener), *_of_classes(plan)


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
