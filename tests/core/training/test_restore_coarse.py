"""Coarse inputs of super-resolution: blur, larger pixels and noise are what the plan says, and nothing moves."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from deepbio.cases.restore import RestoreCase, coarser
from deepbio.networks import build
from deepbio.training.restore import _Scorer
from deepbio.training.restore_coarse import seen_coarser
from deepbio.training.restore_pairs import Pair, Pairs, prepare_pairs
from deepbio.training.restore_patches import PatchSampler
from tests.core.training.blobs import clean_blobs, restore_plan, restore_sample


@pytest.fixture
def pair(images) -> Pair:
    plan = restore_plan(images, method="superresolution")
    sharp = clean_blobs((90, 122), 0).astype(np.float32)[None, None]
    return prepare_pairs(restore_sample(sharp), plan)[0]


@pytest.fixture
def plan(images):
    return replace(restore_plan(images, method="superresolution"), synthetic=0.0, blur=0.0)


def test_the_plan_draws_blur_and_mild_noise(images) -> None:
    plan = restore_plan(images, method="superresolution")
    assert (plan.synthetic, plan.blur, plan.noise) == (0.5, 1.0, (0.02, 0.4))
    assert restore_plan(images, method="superresolution", blur=2.5, synthetic=0.0).blur == 2.5
    assert restore_plan(images).blur == 0.0


def test_without_blur_and_noise_pixels_are_the_means_of_blocks(pair, plan, rng) -> None:
    image, target = seen_coarser(pair, (3, 5), (16, 20), plan, rng)
    np.testing.assert_allclose(image, pair.image[:, 3:19, 5:25], atol=1e-5)
    np.testing.assert_array_equal(target, pair.target[:, 6:38, 10:50])


@pytest.mark.parametrize("start", [(0, 0), (11, 17), (29, 41)])  # a corner, the middle, the other corner
def test_a_blurred_part_is_that_of_the_blurred_whole(pair, plan, start) -> None:
    plan = replace(plan, blur=2.0)
    width = 2.0 * np.random.default_rng(7).uniform()
    image, target = seen_coarser(pair, start, (16, 20), plan, np.random.default_rng(7))
    whole, _ = coarser(ndimage.gaussian_filter(pair.target, (0, width, width), mode="mirror"), (2, 2))
    y, x = start
    # a Gaussian filter looks 4 deviations far, the margin is 3
    np.testing.assert_allclose(image, whole[:, y : y + 16, x : x + 20], atol=5e-3)
    np.testing.assert_array_equal(target, pair.target[:, 2 * y : 2 * y + 32, 2 * x : 2 * x + 40])


def test_noise_has_the_part_that_was_asked_for(pair, plan, rng) -> None:
    plan = replace(plan, synthetic=1.0, noise=(0.3, 0.3), stripes=0.0)
    size = pair.image.shape[1:]
    image, target = seen_coarser(pair, (0, 0), size, plan, rng)
    clean, _ = coarser(target, (2, 2))
    assert (image - clean).mean() == pytest.approx(0, abs=0.03)
    assert (image - clean).std() == pytest.approx(0.3, abs=0.03)
    assert image.std() == pytest.approx(1, abs=0.06)  # normalised, as an image would be
    assert target.shape == (1, 90, 122)


def test_batches_have_inputs_of_several_strengths(images, plan) -> None:
    plan = replace(plan, synthetic=0.5, noise=(0.4, 0.4), contrast=0.0, batch=12)
    cases = [RestoreCase(path) for path in sorted(images.rglob("*.tif"))]
    batch = PatchSampler(Pairs(cases, plan), plan).batch(0)
    assert batch.targets.shape == (12, 1, 32, 32)
    means = batch.targets.reshape(12, 1, 16, 2, 16, 2).mean((3, 5))
    noisy = np.abs(batch.images - means).max((1, 2, 3)) > 1e-4
    assert 0 < noisy.sum() < 12


def test_held_out_images_are_scored_with_the_same_draws_each_time(images, plan) -> None:
    plan = replace(plan, synthetic=1.0, noise=(0.4, 0.4), blur=1.0)
    cases = [RestoreCase(path) for path in sorted(images.rglob("*.tif"))][:1]
    network = build(plan.network["name"], plan.network["arguments"]).eval()
    score = _Scorer(Pairs(cases, plan), plan, "cpu")
    found = score(network)["score"]
    assert found == score(network)["score"]
    clean = _Scorer(Pairs(cases, replace(plan, synthetic=0.0, blur=0.0)), plan, "cpu")
    easy = replace(plan, synthetic=0.0, blur=0.0)
    assert _Scorer(clean._pairs, easy, "cpu")(network)["score"] > found + 1
