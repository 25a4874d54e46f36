"""Scores of a network on the validation part."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from deepbio.engine.device import Device, cpu_device
from deepbio.engine.slabs import ArraySource, predict_slabs
from deepbio.engine.tiling import plan_tiles
from deepbio.image import ArrayLike
from deepbio.metrics import average_precision, dice
from deepbio.tasks.decode import decode
from deepbio.tasks.decoder import Decoder
from deepbio.training.plan import Plan
from deepbio.training.volumes import Volume, Volumes

__all__ = ["predict_classes", "predict_whole", "validate"]

_WHOLE = 128**3  # voxels, beyond which a volume is predicted in tiles as large as a patch
_OVERLAP = 0.25


def validate(network: nn.Module, volumes: Volumes, plan: Plan, *, device: torch.device) -> dict[str, float]:
    """Score the network on whole images, on the grid that it works on.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    volumes : Volumes
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
    for volume in volumes:
        if plan.target == "instances":
            scores = predict_whole(network, volume.image, device)
            value = float(average_precision(volume.labels, decode(scores, Decoder()), (0.5,))[0])
        else:
            labels = predict_classes(network, volume, plan, device)
            values = list(dice(volume.labels, labels, range(1, plan.classes + 1)).values())
            value = float(np.nanmean(values)) if not np.isnan(values).all() else 1.0
        found.setdefault(volume.case.group, []).append(value)
    groups = {group: float(np.mean(values)) for group, values in sorted(found.items())}
    result = {"score": float(np.mean(list(groups.values())))}
    return result | ({group or "other": value for group, value in groups.items()} if len(groups) > 1 else {})


def predict_classes(network: nn.Module, volume: Volume, plan: Plan, device: torch.device) -> np.ndarray:
    """Classes of a case; the scores of a large volume are never held at once.

    Returns
    -------
    ndarray of uint8 or uint16, shape ([z,] y, x)
    """
    out = np.zeros(volume.labels.shape, np.min_scalar_type(plan.classes))
    if plan.per_slice:
        for at in range(len(out)):
            out[at] = predict_whole(network, volume.image[:, at], device).argmax(0)
        return out
    if plan.dims == 2 or math.prod(out.shape) <= _WHOLE:
        out[...] = predict_whole(network, volume.seen, device).argmax(0)
        return out
    for start, stop, scores in _tiles(network, volume.seen, plan, device):
        out[start:stop] = scores.argmax(0)
    return out


def _tiles(
    network: nn.Module, image: ArrayLike, plan: Plan, device: torch.device
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Bands of scores, from tiles as large as the patches that the network learns from."""
    divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
    tiles = plan_tiles(tuple(image.shape[1:]), tile=plan.patch, overlap=_OVERLAP, multiple_of=divisor)
    return predict_slabs(ArraySource(image), _Eager(network, device), tiles)


class _Eager:
    """A network in training as the engine's runtime; scores come back to main memory."""

    name, precision, why = "torch", "fp32", ""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self.device: Device = cpu_device()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            scores: np.ndarray = self._network(torch.from_numpy(batch).to(self._device)).float().cpu().numpy()
        return scores


def predict_whole(network: nn.Module, image: ArrayLike, device: torch.device) -> np.ndarray:
    """Scores of a whole normalised image, padded by reflection to what the network takes.

    Parameters
    ----------
    image : array-like of float32, shape (C, [z,] y, x)

    Returns
    -------
    ndarray of float32, shape (K, [z,] y, x)
    """
    size = image.shape[1:]
    divisor: tuple[int, ...] = network.divisor  # type: ignore[assignment]
    extra = [-n % d for n, d in zip(size, divisor, strict=True)]
    padding = [p for n in reversed(extra) for p in (0, n)]
    x = torch.from_numpy(np.ascontiguousarray(image[...]))[None].to(device)
    fits = all(e < n for e, n in zip(extra, size, strict=True))
    x = F.pad(x, padding, mode="reflect" if fits else "replicate")
    with torch.inference_mode():
        scores = network(x)[0].float().cpu().numpy()
    result: np.ndarray = scores[(slice(None), *(slice(0, n) for n in size))]
    return result
