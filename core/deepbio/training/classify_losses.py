"""Losses of classification, and what they do about classes that are rare.

Focal loss: Lin et al., ICCV 2017 (doi:10.1109/ICCV.2017.324), with the class weights of Cui et al.,
CVPR 2019 (doi:10.1109/CVPR.2019.00949). Logit adjustment: Menon et al., ICLR 2021 (arXiv:2007.07314).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BALANCES", "class_weights", "classification_loss"]

BALANCES = ("none", "sampling", "focal", "logits")
"""What can be done about imbalance: nothing, draw classes evenly, focal loss, or adjusted logits."""

_GAMMA = 2.0  # of the focal loss
_BETA = 0.999  # of the effective number of images


def class_weights(counts: Sequence[int], beta: float = _BETA) -> Tensor:
    """Weights by the effective number of images of each class, with a mean of 1.

    Examples
    --------
    >>> class_weights([10, 1000])
    tensor([1.9690, 0.0310])
    """
    effective = (1 - beta ** torch.tensor(counts, dtype=torch.float64)) / (1 - beta)
    weights = 1 / effective
    return (weights / weights.mean()).float()


def classification_loss(
    balance: str, counts: Sequence[int], smoothing: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss ``loss(scores, classes)`` of a plan.

    Parameters
    ----------
    balance : str
        One of `BALANCES`; "sampling" is done where batches are drawn, and its loss is the plain one.
    counts : sequence of int
        Training images of each class.
    smoothing : float
        Part of the truth that is spread over all classes (label smoothing); with "logits" by their
        frequencies, since an even spread would be shifted towards the rare ones.

    Returns
    -------
    callable
        Of scores before softmax, shape (N, K), and classes from 0, shape (N,).
    """
    prior = torch.tensor(counts, dtype=torch.float32)
    shift = (prior / prior.sum()).log()
    weights = class_weights(counts)

    def loss(scores: Tensor, classes: Tensor) -> Tensor:
        scores = scores.float()
        if balance == "logits":
            told = F.one_hot(classes, len(counts)) * (1 - smoothing) + smoothing * shift.exp().to(
                scores.device
            )
            return F.cross_entropy(scores + shift.to(scores.device), told)
        if balance != "focal":
            return F.cross_entropy(scores, classes, label_smoothing=smoothing)
        entropy = F.cross_entropy(scores, classes, label_smoothing=smoothing, reduction="none")
        right = scores.softmax(1).gather(1, classes[:, None])[:, 0]
        weight = weights.to(scores.device)[classes]
        return (weight * (1 - right) ** _GAMMA * entropy).sum() / weight.sum()

    return loss
