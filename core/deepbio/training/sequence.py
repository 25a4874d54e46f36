"""Training of networks with memory, from sequences of which few frames are labelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.cases import split_cases
from deepbio.cases.sequence import Clip, SequenceCase, load_clips, looks_like_sequences, read_sequences
from deepbio.engine.runtimes.with_torch import load_module
from deepbio.events import Notice
from deepbio.io import read
from deepbio.networks import build
from deepbio.networks.sequence import SequenceUNet
from deepbio.predict import load_model
from deepbio.training.description import Description
from deepbio.training.families import Job
from deepbio.training.loop import Loop, Schedule
from deepbio.training.losses import class_loss
from deepbio.training.packaging import training_picture, write_scored
from deepbio.training.sequence_data import Batch, Ready, animated, clip_batches, ready_clips
from deepbio.training.sequence_package import sequence_content
from deepbio.training.sequence_plan import (
    Plan,
    Wishes,
    check_network_plan,
    make_network_plan,
    settle_kind,
)
from deepbio.training.sequence_teacher import taught
from deepbio.training.start import begin_with, weights_of

__all__ = ["Plan", "Wishes", "check_plan", "make_plan", "matches", "sequence_loss", "train_plan"]

_VALIDATED = 20  # clips at most, drawn evenly from the val part
_SHARP = 3.0
_SMALL = 30.0  # pixels, below which sizes need not be steady

Thing = TypeVar("Thing")


def matches(data: Path) -> bool:
    """Whether a data set looks like sequences: a CSV with a column ``frames``."""
    return looks_like_sequences(data)


def make_plan(data: Path, wishes: Wishes, about: Description) -> tuple[Plan, dict[str, Any]]:
    """A plan from the training part, and the facts that it came from.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on.
    OptionError
        If the model to start from does not fit.
    """
    cases = read_sequences(data)
    train, _ = split_cases(cases)
    kind = settle_kind(wishes.kind, [case.classes for case in cases], any(case.labels for case in cases))
    return make_network_plan(_clips(train, kind), kind, wishes, about.names)


def check_plan(data: Path, plan: Plan, about: Description) -> dict[str, Any]:
    """Measure the training part for a plan that is given.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on, or its classes or channels are not those of the plan.
    """
    train, _ = split_cases(read_sequences(data))
    return check_network_plan(_clips(train, plan.kind), plan, about.names)


def train_plan(data: Path, plan: Plan, about: Description, job: Job) -> Path:
    """Fit, package, and score on the val part.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be used.
    """
    train, val = split_cases(read_sequences(data))
    job.listener(Notice(f"{len(train)} files, {len(val)} held out."))
    clips, held = (ready_clips(_clips(cases, plan.kind), plan) for cases in (train, val))
    clips = learned(clips, plan)
    shown = [animated(one, plan, number) for number, one in enumerate(_some(held, _VALIDATED))]
    schedule = Schedule(
        plan.steps, plan.learning_rate, plan.weight_decay, plan.ema, plan.validate_every, plan.seed
    )
    loop: Loop[Batch] = Loop(_maker(plan), schedule, job.device.name, _loss_on(plan, job.device.name))
    network, state = loop.fit(
        lambda first, last: clip_batches(clips, plan, first, last),
        lambda network: _score(network, shown, plan, job.device.name),
        job.work,
        job.listener,
    )
    job.listener(Notice(f"Best score on the val part: {state.best:.3f}."))
    if isinstance(network, SequenceUNet) and plan.memory_share < 1:
        network.keep_share(plan.memory_share)
    sample = max(held or clips, key=lambda one: len(one.frames)).clip
    with sequence_content(network, plan, sample, about) as content:
        content = replace(content, files=training_picture(job.work))
        write_scored(job.output, content, lambda: _held_out(job.output, val, data, job))
    return job.output


def learned(clips: Sequence[Ready], plan: Plan) -> list[Ready]:
    """Clips to learn from: where the plan says so, a teacher labels the frames that have no label."""
    if plan.kind != "segment" or not plan.start or not plan.teach:
        return list(clips)
    return taught(clips, load_module(weights_of(plan.start, 2)), harmonics=plan.harmonics, cyclic=plan.cyclic)


def _clips(cases: Sequence[SequenceCase], kind: str) -> list[Clip]:
    return [clip for case in cases for clip in load_clips(case, kind)]


def _maker(plan: Plan) -> Callable[[], nn.Module]:
    """Builds the network; its U-Net begins with the weights of another model where the plan says so."""

    def make() -> nn.Module:
        network = build(plan.network["name"], plan.network["arguments"])
        if not isinstance(network, SequenceUNet):
            return network
        if plan.start:
            begin_with(network.unet, plan.start)
        if plan.learn != "all":
            network.unet.requires_grad_(False)
        if plan.learn == "decoder":
            for part in (network.unet.decoder, network.unet.up, network.unet.heads):
                part.requires_grad_(True)
        return network

    return make


def _loss_on(plan: Plan, device: str) -> Callable[[nn.Module, Batch], Tensor]:
    def loss(network: nn.Module, batch: Batch) -> Tensor:
        return sequence_loss(network(batch.frames.to(device)), batch.labels.to(device), plan.consistency)

    return loss


def sequence_loss(scores: Tensor, labels: Tensor, consistency: float) -> Tensor:
    """Loss over what is labelled, and over jumps in time.

    Parameters
    ----------
    scores : Tensor of float
        Shape (N, K, T, y, x), (N, K, T) or (N, K).
    labels : Tensor of int64
        The same without K; -1 is unknown.
    consistency : float
        Weight of the mean squared second difference in time of the classes' sizes, each over its largest size. What is
        steady or changes evenly costs nothing, so that a heart may beat; an object that comes and goes from one
        frame to the next does.

    Returns
    -------
    Tensor
        A scalar.
    """
    if scores.ndim < 5:
        known = (labels >= 0).any()
        return F.cross_entropy(scores, labels, ignore_index=-1) if bool(known) else scores.sum() * 0
    flat = scores.transpose(1, 2).flatten(0, 1)
    marks = labels.flatten(0, 1)
    known = marks[:, 0, 0] >= 0
    loss = class_loss(flat[known], marks[known]) if bool(known.any()) else scores.sum() * 0
    if consistency and scores.shape[2] > 2:
        # sharpened, nearly counts of pixels: else a region that is half there everywhere would be steady
        sizes = (scores.float() * _SHARP).softmax(1)[:, 1:].sum((3, 4))
        sizes = sizes / (sizes.amax(2, keepdim=True).detach() + _SMALL)
        jumps = sizes[:, :, 2:] - 2 * sizes[:, :, 1:-1] + sizes[:, :, :-2]
        loss = loss + consistency * jumps.square().mean()
    return loss


def _some(things: Sequence[Thing], most: int) -> list[Thing]:
    """At most so many of them, evenly."""
    index = np.unique(np.linspace(0, len(things) - 1, min(len(things), most)).round().astype(int))
    return [things[i] for i in index]


@torch.no_grad()
def _score(network: nn.Module, held: Sequence[Ready], plan: Plan, device: str) -> dict[str, float]:
    """Mean Dice over labelled frames, or accuracy."""
    network.eval()
    found: list[float] = []
    for one in held:
        frames = one.frames[: plan.frames] if plan.kind != "segment" else one.frames
        scores = network(_padded(frames, network).to(device).transpose(0, 1)[None])[0].cpu()
        if plan.kind == "segment":
            found += _dices(scores, one)
        elif plan.kind == "per-frame":
            known = [t for t in one.known if t < scores.shape[1]]
            found += (scores.argmax(0)[known] == one.labels[known]).float().tolist()
        else:
            found.append(float(scores.argmax(0) == one.labels[0]))
    return {"score": float(np.mean(found)) if found else 0.0}


def _dices(scores: Tensor, one: Ready) -> list[float]:
    height, width = one.labels.shape[-2:]
    found = scores.argmax(0)[:, :height, :width]
    dices = []
    for t in one.known:
        for label in range(1, scores.shape[0]):
            mine, true = found[t] == label, one.labels[t] == label
            total = int(mine.sum() + true.sum())
            if int(true.sum()):
                dices.append(2 * int((mine & true).sum()) / total)
    return dices


def _padded(frames: Tensor, network: Any) -> Tensor:
    """Frames padded to a size that the network takes."""
    short = [-n % d for n, d in zip(frames.shape[-2:], network.divisor, strict=True)]
    return F.pad(frames, [0, short[1], 0, short[0]], mode="replicate") if any(short) else frames


def _held_out(output: Path, cases: Sequence[SequenceCase], data: Path, job: Job) -> list[dict[str, Any]]:
    """Scores of the finished package, as ``deepbio evaluate`` tells: of movies, or of stills where there are none."""
    from deepbio.evaluation.sequence import evaluate_sequences
    from deepbio.options import RunOptions

    movies = [case for case in cases if case.classes or read(case.image).size("T") > 1]
    command = f"deepbio evaluate {output.name} {data.name} --split val"
    with load_model(output) as model:
        report = evaluate_sequences(
            model,
            movies or cases,
            "val",
            RunOptions(),
            command=command if len(movies) in (0, len(cases)) else "",
            on_progress=job.listener,
        )
    return [dict(row) for row in report.summary]
