"""Losses of restorers, by hand."""

import numpy as np
import pytest
import torch

from deepbio.training.restore_loss import RestoreLoss, divergence, psnr_loss, ssim_loss
from deepbio.training.restore_patches import Batch
from tests.core.training.blobs import restore_plan


def test_ssim_is_that_of_the_metric(rng) -> None:
    from deepbio.metrics.restoration import ssim

    truth = rng.uniform(0, 1, (19, 23))
    image = truth + rng.normal(0, 0.1, truth.shape)
    span = truth.max() - truth.min()
    found = 1 - float(ssim_loss(*(torch.from_numpy(a)[None, None] for a in (image, truth)), data_range=span))
    assert found == pytest.approx(ssim(image, truth), abs=0.01)  # of which the borders are left out


def test_decibels_count_alike_in_any_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(2, 1, 9, 11, generator=rng)
    error = torch.randn(2, 1, 9, 11, generator=rng) * torch.tensor([1.0, 0.2]).reshape(2, 1, 1, 1)
    wanted = np.mean(np.log(error.square().mean((1, 2, 3)).numpy() + 1e-3))
    assert float(psnr_loss(targets + error, targets)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", ["l2", "l1", "ssim", "ssim+l1"])
def test_losses_are_zero_at_the_target_alone(pairs, loss) -> None:
    score = RestoreLoss(restore_plan(pairs, loss=loss), "cpu")
    images = np.random.default_rng(0).normal(size=(2, 1, 16, 16)).astype(np.float32)
    same = float(score(torch.nn.Identity(), Batch(images, images)))
    other = float(score(torch.nn.Identity(), Batch(images, images + np.float32(0.5))))
    assert same == pytest.approx(0, abs=1e-5)
    assert other > 0.01
    if loss in ("l1", "l2"):
        assert other == pytest.approx(0.5 if loss == "l1" else 0.25, rel=1e-4)


def test_hidden_pixels_alone_count(pairs) -> None:
    score = RestoreLoss(restore_plan(pairs, method="noise2void"), "cpu")
    images = np.zeros((1, 1, 4, 4), np.float32)
    targets, mask = images.copy(), np.zeros(images.shape, bool)
    targets[0, 0, 0] = 9  # not looked at
    targets[0, 0, 1, 2], mask[0, 0, 1, 2] = 3, True
    assert float(score(torch.nn.Identity(), Batch(images, targets, mask))) == pytest.approx(9.0)


def test_divergence_by_hand() -> None:
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, np.log(2.0)]])
    wanted = 0.5 * 1 + 0.5 * (2 - 1 - np.log(2))
    assert float(divergence(mean, log_variance)) == pytest.approx(wanted, rel=1e-6)
