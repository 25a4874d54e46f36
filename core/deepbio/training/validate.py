"""Scores of a network on the validation part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from deepbio.cases import Case, load_sample
from deepbio.metrics import average_precision, dice
from deepbio.tasks.decode import Decoder, decode
from deepbio.training.plan import Plan
from deepbio.training.sampler import normalise

__all__ = ["predict_whole", "validate"]


def validate(
    network: nn.Module, cases: Sequence[Case], plan: Plan, *, device: torch.device
) -> dict[str, float]:
    """Score the network on whole images.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    cases : sequence of Case
        The validation part.
    plan : Plan
        What the scores mean.
    device : torch.device
        Where the network is.

    Returns
    -------
    dict of str to float
        ``"score"`` is the mean over groups of the mean over images of the average precision at
        0.5 (instances) or the mean Dice (classes); the other keys are the groups, where there
        is more than one.
    """
    found: dict[str, list[float]] = {}
    for case in cases:
        sample = load_sample(case, plan.channels)
        scores = predict_whole(network, normalise(sample, plan), device)
        if plan.target == "instances":
            value = float(average_precision(sample.labels, decode(scores, Decoder()), (0.5,))[0])
        else:
            values = dice(sample.labels, decode(scores, Decoder("classes")), range(1, plan.classes + 1))
            value = (
                float(np.nanmean(list(values.values()))) if not np.isnan(list(values.values())).all() else 1.0
            )
        found.setdefault(case.group, []).append(value)
    groups = {group: float(np.mean(values)) for group, values in sorted(found.items())}
    result = {"score": float(np.mean(list(groups.values())))}
    return result | ({group or "other": value for group, value in groups.items()} if len(groups) > 1 else {})


def predict_whole(network: nn.Module, image: np.ndarray, device: torch.device) -> np.ndarray:
    """Scores of a whole normalised image, padded by reflection to what the network takes.

    Parameters
    ----------
    image : ndarray of float32, shape (C, [z,] y, x)

    Returns
    -------
    ndarray of float32, shape (K, [z,] y, x)
    """
    size = image.shape[1:]
    divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
    extra = [-n % d for n, d in zip(size, divisor, strict=True)]
    padding = [p for n in reversed(extra) for p in (0, n)]
    x = torch.from_numpy(image)[None].to(device)
    fits = all(e < n for e, n in zip(extra, size, strict=True))
    x = F.pad(x, padding, mode="reflect" if fits else "replicate")
    with torch.inference_mode():
        scores = network(x)[0].float().cpu().numpy()
    result: np.ndarray = scores[(slice(None), *(slice(0, n) for n in size))]
    return result
