"""Losses of restoration: differences, structural similarity, hidden pixels, and the codes of a VAE."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.networks.autoencoder import VariationalAutoencoder
from deepbio.training.restore_patches import Batch
from deepbio.training.restore_plan import Plan

__all__ = ["RestoreLoss", "divergence", "psnr_loss", "ssim_loss"]

_WINDOW = 7
_PRECISE = 1e-3  # square error, of an image's variance, below which a patch is as good as it needs to be
_MIX = 0.84  # of 1 - SSIM, the rest is L1: Zhao et al., IEEE TCI 3:47 (2017, doi:10.1109/TCI.2016.2644865)
_POOL: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}


class RestoreLoss:
    """The loss of a plan: ``loss(network, batch)``.

    Parameters
    ----------
    plan : Plan
        Which.
    device : torch.device or str
        Where the network is.
    """

    def __init__(self, plan: Plan, device: torch.device | str) -> None:
        self._plan, self._device = plan, torch.device(device)

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of a batch, a scalar."""
        images = torch.from_numpy(batch.images).to(self._device)
        targets = torch.from_numpy(batch.targets).to(self._device)
        if self._plan.dims == 2:
            images = images.contiguous(memory_format=torch.channels_last)
        if isinstance(network, VariationalAutoencoder):
            mean, log_variance = network.distribution(images)
            found = network.decode(network.sample(mean, log_variance)).float()
            share = self._plan.kl / (images[0].numel())
            return self._difference(found, targets) + share * divergence(mean, log_variance)
        found = network(images).float()
        if batch.mask is None:
            return self._difference(found, targets)
        mask = torch.from_numpy(batch.mask).to(self._device)
        if self._plan.method != "noise2void":  # nothing is to be learned where the target does not count
            return self._difference(torch.where(mask, found, targets), targets)
        error = (found - targets)[mask]
        return error.square().mean() if self._plan.loss == "l2" else error.abs().mean()

    def _difference(self, found: Tensor, targets: Tensor) -> Tensor:
        loss = self._plan.loss
        if loss == "l2":
            return F.mse_loss(found, targets)
        if loss == "l1":
            return F.l1_loss(found, targets)
        if loss == "psnr":
            return psnr_loss(found, targets)
        similar = ssim_loss(found, targets, self._plan.data_range)
        return similar if loss == "ssim" else _MIX * similar + (1 - _MIX) * F.l1_loss(found, targets)


def psnr_loss(found: Tensor, targets: Tensor) -> Tensor:
    """The logarithm of each image's mean square error, the mean over images.

    A decibel counts the same in an image with little noise as in one with much, where the square error itself
    would hardly see the former. Chen et al., ECCV 2022 (arXiv:2204.04676).

    Parameters
    ----------
    found, targets : Tensor, shape (N, C, [z,] y, x)
        In units of the deviation of an image; errors far below 0.03 of it count no more.

    Examples
    --------
    >>> targets = torch.zeros(2, 1, 4, 4)
    >>> [round(float(psnr_loss(targets + error, targets)), 2) for error in (1.0, 0.1)]
    [0.0, -4.51]
    """
    error = (found - targets).square().flatten(1).mean(1)
    return torch.log(error + _PRECISE).mean()


def ssim_loss(found: Tensor, targets: Tensor, data_range: float) -> Tensor:
    """1 - SSIM, the mean over images, channels and windows of 7 pixels, in 2D and 3D.

    Wang et al., IEEE TIP 13:600 (2004, doi:10.1109/TIP.2003.819861), with an even window.

    Parameters
    ----------
    found, targets : Tensor, shape (N, C, [z,] y, x)
    data_range : float
        Between dark and bright.

    Examples
    --------
    >>> images = torch.arange(64.0).reshape(1, 1, 8, 8)
    >>> round(float(ssim_loss(images, images, 63.0)), 6)
    0.0
    """
    dims = found.ndim - 2
    window = [min(_WINDOW, n) for n in found.shape[2:]]
    count = torch.tensor(window).prod().item()
    unbiased = count / max(count - 1, 1)

    def mean(values: Tensor) -> Tensor:
        result: Tensor = _POOL[dims](values, window, stride=1)
        return result

    a, b = mean(found), mean(targets)
    aa = unbiased * (mean(found * found) - a * a)
    bb = unbiased * (mean(targets * targets) - b * b)
    ab = unbiased * (mean(found * targets) - a * b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similar = (2 * a * b + c1) * (2 * ab + c2) / ((a * a + b * b + c1) * (aa + bb + c2))
    return 1 - similar.mean()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of codes from the standard normal distribution, mean over images.

    Examples
    --------
    >>> float(divergence(torch.ones(2, 5), torch.zeros(2, 5)))
    2.5
    """
    mean, log_variance = mean.float(), log_variance.float()
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
