"""Training of the task ``restore``: denoising, finer grids, and images through a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepbio.cases.restore import (
    RestoreCase,
    RestoreSample,
    load_restore_sample,
    looks_like_pairs,
    read_restore_cases,
)
from deepbio.cases.split import split_cases
from deepbio.errors import ImageError, OptionError
from deepbio.events import Notice
from deepbio.metrics.restoration import fit_intensity, noise_level, psnr
from deepbio.networks import build
from deepbio.training.description import Description
from deepbio.training.families import Job
from deepbio.training.fitting_data import apart, check_fits
from deepbio.training.loop import Loop, Schedule
from deepbio.training.packaging import training_picture, write_scored
from deepbio.training.restore_coarse import seen_coarser
from deepbio.training.restore_loss import RestoreLoss
from deepbio.training.restore_package import restore_content
from deepbio.training.restore_pairs import Pair, Pairs, prepare_pairs
from deepbio.training.restore_patches import Batch, PatchSampler, with_noise
from deepbio.training.restore_plan import Plan, Wishes

__all__ = ["Plan", "Wishes", "check_plan", "make_plan", "matches", "train_plan"]

_DEEP = 8  # slices from which a stack is a volume
_PATCH = {2: 96, 3: 32}
_CODE_PATCH = {2: 64, 3: 32}
_BATCH = {2: 4, 3: 2}
_STEPS = 3000
_SCALES = (1.0, 2.0, 4.0)  # pixels; of what is smooth, a denoiser may take the mean
_WIDEST = 4  # feature maps of the last stages, in units of the first
_FEW = 50  # training images below which drawn noise is worth more than more of the same
_NOISE, _MILD_NOISE = (0.1, 0.95), (0.02, 0.4)  # parts of the deviation: for denoisers, for finer grids
_MOST = {2: 1024, 3: 64}  # edge of what is scored while training
_SEEN = 64  # cases that are measured for the plan
_CODES = ("autoencoder", "vae")


def matches(data: Path) -> bool:
    """Whether a data set is one of pairs; images alone may be for anything."""
    return looks_like_pairs(Path(data))


def make_plan(data: Path, wishes: Wishes, about: Description) -> tuple[Plan, dict[str, Any]]:
    """Measure a data set's training part and decide how to train.

    Parameters
    ----------
    data : path
        As in `read_restore_cases`.
    wishes : Wishes
        What the user asked for.
    about : Description
        Not needed here.

    Returns
    -------
    plan : Plan
    fingerprint : dict
        Sizes, channels, intensities, noise and how targets compare with inputs.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on.
    OptionError
        If wishes contradict each other or the data.
    """
    cases = read_restore_cases(data)
    method = _method(cases, wishes)
    train, val = _parts(cases, method)
    factor = wishes.factor if method == "superresolution" else 1
    seen = _measure(train, val, factor)
    dims = wishes.dims or (3 if seen.slices >= _DEEP else 2)
    plan = _plan(wishes, method, dims, seen.channels, len(train))
    prepare_pairs(load_restore_sample(train[0], factor), plan)
    return plan, seen.facts


def check_plan(data: Path, plan: Plan, about: Description) -> dict[str, Any]:
    """Measure the training part for a plan that is given.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on, or its channels, axes or factor are not those of the plan.
    OptionError
        If the method of the plan needs targets that are not there.
    """
    cases = read_restore_cases(data)
    _check_method(cases, plan.method, plan.loss)
    train, val = _parts(cases, plan.method)
    seen = _measure(train, val, plan.factor)
    check_fits(
        apart("channels", plan.channels, seen.channels),
        # a network of planes takes the slices of a stack
        apart("spatial axes", plan.dims, seen.dims) if seen.dims < plan.dims else "",
    )
    prepare_pairs(load_restore_sample(train[0], plan.factor), plan)
    return seen.facts


def _method(cases: Sequence[RestoreCase], wishes: Wishes) -> str:
    method = wishes.method
    if method == "auto":
        method = "paired" if any(case.target is not None for case in cases) else "noise2void"
    _check_method(cases, method, wishes.loss)
    return method


def _check_method(cases: Sequence[RestoreCase], method: str, loss: str) -> None:
    targets = sum(case.target is not None for case in cases)
    if method == "paired" and targets < len(cases):
        without = next(case for case in cases if case.target is None)
        raise OptionError(
            f"The method 'paired' needs a target for each image; {len(cases) - targets} have none, the first is "
            f"{str(without.path)!r}.",
            "Choose the method noise2void, which learns from noisy images alone.",
        )
    if method == "noise2void" and loss.startswith("ssim"):
        raise OptionError(
            f"The loss {loss!r} compares neighbourhoods; noise2void knows single pixels only.",
            "Choose l2 or l1.",
        )


def _parts(cases: Sequence[RestoreCase], method: str) -> tuple[list[RestoreCase], list[RestoreCase]]:
    """Train and val; what is learned from noisy images alone may be watched on those very images."""
    if method == "noise2void" and (len(cases) == 1 or not any(case.split == "val" for case in cases)):
        chosen = [case for case in cases if case.split in ("", "train")]
        return chosen, chosen
    return split_cases(cases)


@dataclass(frozen=True)
class _Seen:
    """Channels, the fewest spatial axes, the fewest slices (1 in 2D), and what people may want to know."""

    channels: int
    dims: int
    slices: int
    facts: dict[str, Any]


def _measure(train: Sequence[RestoreCase], val: Sequence[RestoreCase], factor: int) -> _Seen:
    rows, shapes = [], []
    for case in train[:_SEEN]:
        sample = load_restore_sample(case, factor)
        shapes.append(sample.given.shape)
        rows.append(_facts(sample))
    for case in val:  # what cannot be scored is better known before the training
        load_restore_sample(case, factor)
    channels = sorted({shape[1] for shape in shapes})
    if len(channels) > 1:
        raise ImageError(
            f"The images have {' and '.join(map(str, channels))} channels; expected one number for all.",
            "Train on images of the same channels.",
        )
    facts = {
        "cases": {"train": len(train), "val": len(val)},
        "with a target": sum(case.target is not None for case in train),
        "noise": _spread([row["noise"] for row in rows]),
        "images": rows,
    }
    slices = min(n for shape in shapes for n in shape[2:-2] or (1,))
    return _Seen(channels[0], min(len(shape) - 2 for shape in shapes), slices, facts)


def _facts(sample: RestoreSample) -> dict[str, Any]:
    """What people may want to know of one case."""
    given = sample.given
    planes = given.reshape(-1, *given.shape[-2:])
    spread = float(given.std())
    row: dict[str, Any] = {
        "file": sample.case.path.name,
        "size": list(given.shape[2:]),
        "mean": round(float(given.mean()), 3),
        "deviation": round(spread, 3),
        # as a part of the deviation: 1 is an image of noise
        "noise": round(float(np.median([noise_level(plane) for plane in planes])) / max(spread, 1e-12), 3),
    }
    if sample.image is not None and sample.target is not None and sample.image.shape == sample.target.shape:
        row["correlation"] = round(float(np.corrcoef(sample.image.ravel(), sample.target.ravel())[0, 1]), 3)
    return row


def _spread(values: Sequence[float]) -> list[float]:
    return [round(float(v), 3) for v in np.quantile(values, (0, 0.5, 1))]


def _plan(wishes: Wishes, method: str, dims: int, channels: int, count: int) -> Plan:
    edge = wishes.patch or (_CODE_PATCH if method in _CODES else _PATCH)[dims]
    # a denoiser computes at half the resolution, with a block of pixels as its channels
    half = method == "paired" and dims == 2
    divisor = 2 ** (wishes.stages if method in _CODES or half else wishes.stages - 1)
    if edge % divisor:
        raise OptionError(
            f"Patches of {edge} pixels cannot be halved {divisor.bit_length() - 1} times.",
            f"Choose a multiple of {divisor}.",
        )
    features = [wishes.width * min(2**i, _WIDEST) for i in range(wishes.stages)]
    if method in _CODES:
        features = [max(1, wishes.width // 2 * min(2**i, _WIDEST)) for i in range(wishes.stages)]
        name = "autoencoder" if method == "autoencoder" else "variational_autoencoder"
        arguments = {"dims": dims, "channels": channels, "size": [edge] * dims, "features": features}
        network = {"name": name, "arguments": {**arguments, "code": wishes.code}}
    else:
        arguments = {"dims": dims, "channels": channels, "features": features, "norm": "none"}
        if method == "superresolution":
            arguments["factor"] = wishes.factor
        if method == "paired":
            arguments["scales"] = list(_SCALES)
        if half:
            arguments["unshuffle"] = 2
        if method == "noise2void":
            arguments["residual"] = False
        network = {"name": "restorer", "arguments": arguments}
    scale = wishes.normalisation
    if scale == "auto":
        scale = "percentile" if method in _CODES else "mean_std"
    synthetic = wishes.synthetic
    if synthetic is None:
        synthetic = 0.5 if method == "superresolution" or (method == "paired" and count < _FEW) else 0.0
    loss = wishes.loss if wishes.loss != "auto" else "l1" if method == "superresolution" else "l2"
    total = wishes.steps or _STEPS
    return Plan(
        method=method,
        loss=loss,
        dims=dims,
        channels=channels,
        factor=wishes.factor if method == "superresolution" else 1,
        network=network,
        patch=(edge,) * dims,
        batch=wishes.batch or _BATCH[dims],
        steps=total,
        normalisation=_normalisation(scale, dims),
        data_range=1.0 if scale == "percentile" else 4.0,
        synthetic=synthetic,
        noise=_MILD_NOISE if method == "superresolution" else _NOISE,
        blur=wishes.blur if method == "superresolution" else 0.0,
        mirror=tuple(range(dims)),
        validate_every=max(1, min(500, total // 4)),
        seed=wishes.seed,
    )


def _normalisation(scale: str, dims: int) -> list[dict[str, Any]]:
    axes = list("zyx"[3 - dims :])
    if scale == "percentile":
        kwargs = {"axes": axes, "min_percentile": 0.5, "max_percentile": 99.8}
        return [{"id": "scale_range", "kwargs": kwargs}]
    return [{"id": "zero_mean_unit_variance", "kwargs": {"axes": axes}}]


def train_plan(data: Path, plan: Plan, about: Description, job: Job) -> Path:
    """Fit a plan's network, package it and score it on the held-out part.

    Parameters
    ----------
    data : path
        As in `read_restore_cases`.
    plan : Plan
        What to train.
    about : Description
        What the card says.
    job : Job
        Where.

    Returns
    -------
    Path
        The package.
    """
    train, val = _parts(read_restore_cases(data), plan.method)
    job.listener(Notice(f"{len(train)} images to learn from, {len(val)} held out."))
    held = Pairs(val, plan)
    schedule = Schedule(
        plan.steps, plan.learning_rate, plan.weight_decay, plan.ema, plan.validate_every, plan.seed
    )
    loop: Loop[Batch] = Loop(
        lambda: build(plan.network["name"], plan.network["arguments"]),
        schedule,
        job.device.name,
        RestoreLoss(plan, job.device.name),
        channels_last=plan.dims == 2,
    )
    sampler = PatchSampler(Pairs(train, plan), plan)
    scorer = _Scorer(held, plan, job.device.name)
    network, state = loop.fit(sampler.batches, scorer, job.work, job.listener)
    job.listener(Notice(f"Best score on the val part: {state.best:.3f}."))
    return _package(network, plan, val, data, about, job)


class _Scorer:
    """Scores a network on the held-out part: PSNR in dB, or of noise2void the loss of hidden pixels."""

    def __init__(self, pairs: Pairs, plan: Plan, device: str) -> None:
        self._pairs, self._plan, self._device = pairs, plan, torch.device(device)

    def __call__(self, network: nn.Module) -> dict[str, float]:
        if self._plan.method == "noise2void":
            sampler, loss = PatchSampler(self._pairs, replace(self._plan, seed=2**31 - 1)), self._loss
            return {"score": -float(np.mean([loss(network, sampler.batch(step)) for step in range(8)]))}
        cases = (self._pairs[i] for i in range(len(self._pairs)))
        values = [
            self._psnr(network, self._given(pair, number))
            for number, pairs in enumerate(cases)
            for pair in pairs
        ]
        return {"score": float(np.mean(values))}

    def _given(self, pair: Pair, number: int) -> Pair:
        """The pair; a clean image that has no input of its own gets one by draws that are always the same."""
        plan = self._plan
        if pair.paired or plan.method not in ("paired", "superresolution"):
            return pair
        rng = np.random.default_rng((plan.seed, number))
        if plan.method == "superresolution":
            size = pair.image.shape[1:]
            return Pair(*seen_coarser(pair, [0] * len(size), size, plan, rng), paired=False)
        return Pair(*with_noise(pair, pair.target, self._plan, rng), paired=False)

    def _loss(self, network: nn.Module, batch: Batch) -> float:
        with torch.inference_mode():
            return float(RestoreLoss(self._plan, self._device)(network, batch))

    def _psnr(self, network: nn.Module, pair: Pair) -> float:
        """Of the middle of an image, in a size that the network takes."""
        plan, image = self._plan, pair.image
        divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
        inner, outer = [slice(None)], [slice(None)]
        for n, d in zip(image.shape[1:], divisor, strict=True):
            size = d if plan.method in _CODES else max(min(n, _MOST[plan.dims]) // d, 1) * d
            start = (n - size) // 2
            inner.append(slice(start, start + size))
            outer.append(slice(start * plan.factor, (start + size) * plan.factor))
        x = torch.from_numpy(np.ascontiguousarray(image[tuple(inner)]))[None].to(self._device)
        with torch.inference_mode():
            found = network(x)[0].float().cpu().numpy()
        truth = pair.target[tuple(outer)]
        counted = None if pair.counted is None else pair.counted[tuple(outer)]
        return min(psnr(fit_intensity(found, truth, counted), truth, counted), 100.0)


def _package(
    network: nn.Module, plan: Plan, val: Sequence[RestoreCase], data: Path, about: Description, job: Job
) -> Path:
    """Write the package, score it as users would run it, and write it again with the scores."""
    from deepbio.evaluation.restore import score_cases
    from deepbio.predict import load_model

    # a card shows what comes from a microscope, where there is such a thing
    sample = load_restore_sample(next((case for case in val if case.image), val[0]), plan.factor)
    raw = sample.given[0]
    if raw.ndim - 1 > plan.dims:
        raw = raw[:, raw.shape[1] // 2]

    def score() -> Sequence[Mapping[str, Any]]:
        with load_model(job.output) as model:
            return score_cases(model, val, "val", on_progress=job.listener, data=data).summary

    with restore_content(network, plan, raw, sample.channels, about) as content:
        write_scored(job.output, replace(content, files=training_picture(job.work)), score)
    return job.output
