"""Fitting a segmentation plan's network with the loop that all families share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.cases import Case
from deepbio.events import Listener, silent
from deepbio.networks import build
from deepbio.training.loop import Fit, Loop, Schedule
from deepbio.training.losses import class_loss, deep_loss, instance_loss
from deepbio.training.plan import Plan
from deepbio.training.refine import FirstStage
from deepbio.training.sampler import PatchSampler
from deepbio.training.start import begin_with
from deepbio.training.validate import validate
from deepbio.training.volumes import Volumes

__all__ = ["fit"]

Batch = tuple[np.ndarray, np.ndarray]

_MEASURED = 4  # batches whose statistics a batch normalisation begins with


def fit(
    plan: Plan,
    train: Sequence[Case],
    val: Sequence[Case],
    folder: Path,
    *,
    device: str = "cpu",
    cache: Path | None = None,
    first: FirstStage | None = None,
    on_progress: Listener = silent,
) -> tuple[nn.Module, Fit]:
    """Train a plan's network and return the best one.

    A checkpoint is written to `folder` at every validation; if one is there already, the run
    goes on from it.

    Parameters
    ----------
    plan : Plan
        What to train.
    train, val : sequence of Case
        The two parts of the data.
    folder : Path
        Where ``checkpoint.pt``, ``best.pt``, ``history.csv`` and ``history.png`` are written.
    device : str
        Name of a torch device.
    cache : Path, optional
        Folder where volumes are kept on the grid that the network works on.
    first : FirstStage, optional
        Of a cascade.
    on_progress : Listener
        Hears every step; may raise `Cancelled` (the last checkpoint stays).

    Returns
    -------
    network : torch.nn.Module
        The moving average with the best validation score, in evaluation mode, on the CPU.
    result : Fit
        How the run went.
    """
    where = torch.device(device)
    trained, held = (Volumes(part, plan, cache, first) for part in (train, val))

    def make() -> nn.Module:
        network = build(plan.network["name"], plan.network["arguments"])
        if plan.start and not (folder / "checkpoint.pt").exists():
            begin_with(network, plan.start, lambda: _images(trained, plan, on_progress))
        return network

    schedule = Schedule(
        plan.steps, plan.learning_rate, plan.weight_decay, plan.ema, plan.validate_every, plan.seed
    )
    loop = Loop(make, schedule, device, _loss_of(plan, where), channels_last=plan.dims == 2)

    def batches(first: int, last: int) -> Iterator[Batch]:
        if first < last:  # else nothing is left to learn from
            trained.prepare(on_progress)
            held.prepare(on_progress)
        yield from PatchSampler(trained, plan).batches(first, last)

    return loop.fit(batches, lambda network: validate(network, held, plan, device=where), folder, on_progress)


def _images(trained: Volumes, plan: Plan, listener: Listener) -> Tensor:
    """What a batch normalisation is measured on."""
    trained.prepare(listener)
    sampler = PatchSampler(trained, plan)
    return torch.from_numpy(np.concatenate([sampler.batch(step)[0] for step in range(_MEASURED)]))


def _loss_of(plan: Plan, where: torch.device) -> Callable[[nn.Module, Batch], Tensor]:
    """The loss of a batch."""
    criterion = instance_loss if plan.target == "instances" else class_loss

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        images, targets = (torch.from_numpy(array).to(where) for array in batch)
        if plan.dims == 2:
            images = images.contiguous(memory_format=torch.channels_last)
        scores = network(images)
        with torch.autocast(where.type, enabled=False):
            found = [scores] if isinstance(scores, Tensor) else scores
            return deep_loss(criterion, found, targets)

    return loss
