"""What a restorer learns from: inputs, targets and noise are what they should be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from deepbio.cases.restore import RestoreCase, read_restore_cases
from deepbio.training.restore_loss import RestoreLoss
from deepbio.training.restore_noise import add_noise, hide_pixels
from deepbio.training.restore_pairs import Pairs, prepare_pairs
from deepbio.training.restore_patches import PatchSampler, with_noise
from tests.core.training.blobs import clean_blobs, restore_plan, restore_sample


def test_a_target_is_brought_to_the_units_of_its_input(pairs) -> None:
    plan = restore_plan(pairs)
    clean = clean_blobs((45, 61), 0).astype(np.float32)[None, None]
    noisy = (clean * 3 + 100 + np.random.default_rng(0).normal(0, 30, clean.shape)).astype(np.float32)
    (pair,) = prepare_pairs(restore_sample(noisy, clean / 7 - 2), plan)
    assert pair.image.mean() == pytest.approx(0, abs=1e-5)
    assert pair.image.std() == pytest.approx(1, abs=1e-4)
    wanted = (clean[0] * 3 + 100 - noisy.mean()) / noisy.std()
    np.testing.assert_allclose(pair.target, wanted, atol=0.06)


def test_a_coarse_input_is_made_from_its_target(images) -> None:
    plan = restore_plan(images, method="superresolution")
    image = clean_blobs((45, 61), 0).astype(np.float32)[None, None]
    (pair,) = prepare_pairs(restore_sample(image), plan)
    assert (pair.image.shape, pair.target.shape) == ((1, 22, 30), (1, 44, 60))
    means = pair.target.reshape(1, 22, 2, 30, 2).mean((2, 4))
    np.testing.assert_allclose(pair.image, means, atol=1e-4)


def test_a_batch_is_a_function_of_seed_and_step(pairs) -> None:
    plan = restore_plan(pairs)
    cases = [
        RestoreCase(path, pairs / "train" / "target" / path.name)
        for path in (pairs / "train" / "input").iterdir()
    ]
    cases.sort(key=lambda case: case.key)
    sampler = PatchSampler(Pairs(cases, plan), plan)
    first = list(sampler.batches(0, 3))
    again = PatchSampler(Pairs(cases, plan), plan)
    for one, other in zip(first[1:], again.batches(1, 3), strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.targets, other.targets)
    assert first[0].images.shape == (2, 1, 16, 16)
    assert not np.array_equal(first[0].images, first[1].images)


def test_input_and_target_are_turned_alike(pairs) -> None:
    plan = replace(restore_plan(pairs), synthetic=0.0, contrast=0.0)
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(1, 1, 40, 40)).astype(np.float32)
    sampler = object.__new__(PatchSampler)
    sampler._plan, sampler._pairs, sampler._chance = (
        plan,
        [prepare_pairs(restore_sample(2 * clean, clean), plan)],
        [1.0],
    )
    for step in range(4):
        batch = sampler.batch(step)
        np.testing.assert_allclose(batch.images, batch.targets, atol=1e-4)


def test_drawn_noise_has_the_part_that_was_asked_for(pairs) -> None:
    plan = replace(restore_plan(pairs, patch=128), synthetic=1.0, noise=(0.8, 0.8), stripes=0.0, contrast=0.0)
    rng = np.random.default_rng(0)
    clean = ndimage.gaussian_filter(rng.normal(100, 30, (1, 1, 128, 128)), (0, 0, 2, 2)).astype(np.float32)
    (pair,) = prepare_pairs(restore_sample(None, clean), plan)
    noisy, target = with_noise(pair, pair.target, plan, np.random.default_rng(2))
    assert (noisy - target).mean() == pytest.approx(0, abs=0.03)
    assert (noisy - target).std() == pytest.approx(0.8, abs=0.03)
    assert noisy.std() == pytest.approx(1, abs=0.05)  # normalised, as an image would be


@pytest.mark.parametrize("tails", [0.0, 0.5])
def test_photons_and_read_noise(rng, tails) -> None:
    light = np.repeat([0.0, 2.0], 20000).reshape(2, -1)
    dark, bright = add_noise(light, 50.0, 0.3, rng, tails=tails)
    assert (stats.kurtosis(dark) > 2) == (tails > 0)
    assert dark.std() == pytest.approx(0.3, rel=0.03)
    assert bright.std() == pytest.approx(np.sqrt(2 / 50 + 0.3**2), rel=0.03)
    assert bright.mean() == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("shape", [(2, 17, 13), (1, 5, 9, 11), (1, 1, 9)])
def test_hidden_pixels_are_replaced_by_others(shape) -> None:
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    hidden, mask = hide_pixels(image, 0.05, np.random.default_rng(0))
    assert mask.sum() == shape[0] * max(1, round(0.05 * np.prod(shape[1:])))
    assert (hidden != image)[mask].all()
    assert (hidden == image)[~mask].all()
    there, here = np.argwhere(mask), hidden[mask].astype(int)
    away = np.abs(np.stack(np.unravel_index(here, shape), 1) - there)
    assert away.max() <= 2
    assert (away[:, 0] == 0).all()  # the same channel


@pytest.mark.parametrize("loss", ["l2", "psnr"])
def test_overexposed_targets_teach_nothing(pairs, loss) -> None:
    plan = replace(restore_plan(pairs, loss=loss), synthetic=0.0, contrast=0.0, mirror=(1,), batch=3)
    rng = np.random.default_rng(0)
    light = ndimage.gaussian_filter(rng.normal(100, 30, (1, 1, 50, 60)), (0, 0, 2, 2)).astype(np.float32)
    top = np.float32(np.quantile(light, 0.9))
    sampler = object.__new__(PatchSampler)
    pair = prepare_pairs(restore_sample(light, np.minimum(light, top)), plan)
    sampler._plan, sampler._pairs, sampler._chance = plan, [pair], [1.0]
    batch = sampler.batch(0)
    assert batch.mask is not None
    assert batch.mask.shape == batch.targets.shape
    assert 0 < (~batch.mask).mean() < 0.4
    level = batch.targets.max()  # where it is cut off, and nowhere else, the mask says so
    np.testing.assert_array_equal(batch.mask, batch.targets < level - 1e-4)
    score = RestoreLoss(plan, "cpu")
    there = torch.from_numpy(~batch.mask)

    class Brighter(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 100.0 * there

    assert float(score(Brighter(), batch)) == pytest.approx(
        float(score(torch.nn.Identity(), batch)), abs=1e-6
    )


def test_a_target_that_is_nowhere_overexposed_counts_everywhere(pairs) -> None:
    assert (
        PatchSampler(Pairs(read_restore_cases(pairs), restore_plan(pairs)), restore_plan(pairs)).batch(0).mask
        is None
    )
