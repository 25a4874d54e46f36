"""Losses for segmentation: Dice with cross-entropy, and the instance channels.

Dice: Milletari et al., 3DV 2016 (doi:10.1109/3DV.2016.79), computed over the batch as in
nnU-Net (doi:10.1038/s41592-020-01008-z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["class_loss", "deep_loss", "instance_loss"]

_OFFSET_BETA = 0.02  # in units of targets.OFFSET_UNIT: a third of a pixel, since small objects need that


def _dice(probability: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice over all axes but the channel's, averaged over channels."""
    axes = [0, *range(2, truth.ndim)]
    overlap = (probability * truth).sum(axes)
    total = probability.sum(axes) + truth.sum(axes)
    return 1 - ((2 * overlap + 1) / (total + 1)).mean()


def class_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Dice (without background) plus cross-entropy.

    Parameters
    ----------
    scores : Tensor of float, shape (N, classes + 1, [z,] y, x)
        Network output before softmax.
    labels : Tensor of int64, shape (N, [z,] y, x)
        Class of each pixel, 0 = background.
    """
    probability = scores.softmax(1)
    truth = torch.zeros_like(probability).scatter_(1, labels[:, None], 1.0)
    return _dice(probability[:, 1:], truth[:, 1:]) + F.cross_entropy(scores, labels)


def instance_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Foreground (Dice plus cross-entropy), depth and offsets.

    Parameters
    ----------
    scores : Tensor of float, shape (N, 2 + dims, [z,] y, x)
        Network output; channel 0 before the sigmoid.
    targets : Tensor of float, shape (N, 3 + dims, [z,] y, x)
        `targets.instance_targets`, then the pixel weights of `targets.object_weights`.
    """
    foreground, depth, offsets, weight = targets[:, :1], targets[:, 1:2], targets[:, 2:-1], targets[:, -1:]
    logits = scores[:, :1]
    loss = _dice(logits.sigmoid(), foreground)
    loss = loss + F.binary_cross_entropy_with_logits(logits, foreground, weight)
    # over the objects' area, not the image's: else an image that is mostly empty teaches little
    inside = (weight * foreground).sum().clamp(min=1)
    loss = loss + (weight * (scores[:, 1:2] - depth).abs()).sum() / inside
    # only pixels of objects have a centre to point to
    miss = F.smooth_l1_loss(scores[:, 2:], offsets, beta=_OFFSET_BETA, reduction="none").sum(1, keepdim=True)
    return loss + (weight * foreground * miss).sum() / inside


def deep_loss(loss: Callable[[Tensor, Tensor], Tensor], scores: Sequence[Tensor], targets: Tensor) -> Tensor:
    """Weighted sum of `loss` over the resolutions of deep supervision (1, 1/2, 1/4...).

    Coarser targets are the finest ones taken at every second pixel: no new labels arise.
    """
    total = scores[0].new_zeros(())
    weights = [0.5**level for level in range(len(scores))]
    for weight, score in zip(weights, scores, strict=True):
        axes = 2 if targets.dtype.is_floating_point else 1
        size = score.shape[2:]
        full = targets.shape[axes:]
        key = (slice(None),) * axes + tuple(
            slice(None, None, f // s) for f, s in zip(full, size, strict=True)
        )
        total = total + weight / sum(weights) * loss(score.float(), targets[key])
    return total
