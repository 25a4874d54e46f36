"""Training of classifiers: from cases to a calibrated model package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.cases import split_cases
from deepbio.cases.classify import ClassCase, is_class_data, read_class_cases
from deepbio.engine.geometry import GridSpec
from deepbio.evaluation.classify import class_rows, score_cases
from deepbio.events import Notice
from deepbio.metrics.classes import confusion
from deepbio.networks import build
from deepbio.networks.classifier import Classifier
from deepbio.predict import load_model
from deepbio.training.classify_data import Batch, Pictures, batches, gather
from deepbio.training.classify_losses import classification_loss
from deepbio.training.classify_package import Calibration, calibrate, class_content, sample_of
from deepbio.training.classify_plan import Plan, Wishes, check_plan, make_plan
from deepbio.training.description import Description
from deepbio.training.families import Job
from deepbio.training.loop import Fit, Loop, Schedule
from deepbio.training.packaging import training_picture, write_scored

__all__ = ["Plan", "Wishes", "check_plan", "make_plan", "matches", "train_plan"]

matches = is_class_data


def train_plan(data: Path, plan: Plan, about: Description, job: Job) -> Path:
    """Fit, calibrate, package and score; go on where a run was stopped.

    Parameters
    ----------
    data : path
        As in `read_class_cases`.
    plan : Plan
        From `make_plan`, or edited.
    about : Description
        For the card.
    job : Job
        Where to write, what to compute on, and who hears of it.

    Returns
    -------
    Path
        The package.
    """
    train, val = split_cases(read_class_cases(data))
    pictures = [_gathered(part, plan, job) for part in (train, val)]
    network, state = fit(plan, pictures[0], pictures[1], job)
    job.listener(Notice(f"Best balanced accuracy on the val part: {state.best:.3f}."))
    scores = np.concatenate(list(_scores(network, pictures[1], plan.batch)))
    calibration = calibrate(scores, pictures[1].classes, with_bias=plan.calibration == "bias")
    job.listener(
        Notice(
            f"Temperature {calibration.temperature:.3f}: calibration error {calibration.before:.3f} before, "
            f"{calibration.after:.3f} after."
        )
    )
    sample = sample_of(pictures[1].pixels[0], plan.normalise)
    with class_content(network, plan, sample, calibration, about) as content:
        content = replace(content, files=training_picture(job.work))
        write_scored(job.output, content, lambda: _held_out(val, calibration, data, job))
    return job.output


def _held_out(
    val: Sequence[ClassCase], calibration: Calibration, data: Path, job: Job
) -> list[dict[str, Any]]:
    """Scores of the finished package, and what its calibration is worth."""
    model = load_model(job.output, device="cpu")
    command = f"deepbio evaluate {job.output.name} {data.name} --split val"
    told = class_rows(score_cases(model, val, on_progress=job.listener), "val", command)
    errors = {"cross-fitted": calibration.after, "before calibration": calibration.before}
    rows = [
        {**told[0], "metric": f"calibration error, {name}", "value": round(value, 4)}
        for name, value in errors.items()
    ]
    return told + rows


def _gathered(cases: Sequence[ClassCase], plan: Plan, job: Job) -> Pictures:
    return gather(
        cases,
        plan.labels,
        plan.size,
        plan.normalise,
        (plan.mean, plan.std),
        job.work / "cache",
        job.listener,
        GridSpec.from_card(plan.grid),
    )


def fit(plan: Plan, train: Pictures, val: Pictures, job: Job) -> tuple[Classifier, Fit]:
    """Fit a plan's network; keep the moving average with the best balanced accuracy.

    Returns
    -------
    network : Classifier
        In evaluation mode, on the CPU.
    result : Fit
        How the run went.
    """
    schedule = Schedule(
        plan.steps, plan.learning_rate, plan.weight_decay, plan.ema, plan.validate_every, plan.seed
    )
    entropy = classification_loss(plan.balance, plan.counts, plan.smoothing)
    device = torch.device(job.device.name)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images = batch.images.to(device)
        if plan.dims == 2:
            images = images.contiguous(memory_format=torch.channels_last)
        return entropy(network(images), batch.classes.to(device))

    def score(network: nn.Module) -> dict[str, float]:
        found = np.concatenate(list(_scores(network, val, plan.batch))).argmax(1)
        matrix = confusion(val.classes, found, len(plan.classes))
        seen = matrix.sum(1) > 0
        recall = matrix.diagonal()[seen] / matrix.sum(1)[seen]
        return {"score": float(recall.mean()), "accuracy": float(matrix.trace() / matrix.sum())}

    def make() -> nn.Module:
        return build(plan.network["name"], plan.network["arguments"])

    loop = Loop(make, schedule, job.device.name, loss, channels_last=plan.dims == 2)
    draw = batches(
        train,
        plan.batch,
        plan.seed,
        plan.variation,
        balanced=plan.balance == "sampling",
        coarse_until=plan.coarse_steps,
    )
    network, state = loop.fit(draw, score, job.work, job.listener)
    assert isinstance(network, Classifier)  # noqa: S101 - for the type checker
    return network, state


@torch.inference_mode()
def _scores(network: nn.Module, pictures: Pictures, size: int) -> Iterator[np.ndarray]:
    device = next(network.parameters()).device
    network.eval()
    for batch in pictures.in_order(size):
        yield network(batch.images.to(device)).float().cpu().numpy()
