"""Batches: which object, at which zoom, the same for the same step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from deepbio.cases import Case
from deepbio.image import Image, LabelMap
from deepbio.io import write
from deepbio.training.augment import Augmentation
from deepbio.training.plan import Plan
from deepbio.training.sampler import PatchSampler, _Both, _inside
from deepbio.training.volumes import Volumes


@pytest.fixture
def discs(tmp_path: Path) -> list[Case]:
    """One image with a disc of radius 4 and one of radius 16."""
    rows, columns = np.indices((97, 113))
    labels = np.zeros((97, 113), np.uint16)
    labels[np.hypot(rows - 20, columns - 20) <= 4] = 1
    labels[np.hypot(rows - 60, columns - 80) <= 16] = 2
    write(tmp_path / "a.tif", Image((labels > 0).astype(np.float32), "YX"))
    write(tmp_path / "b.tif", LabelMap(labels, "YX"))
    return [Case(tmp_path / "a.tif", tmp_path / "b.tif")]


def _plan(**changes: object) -> Plan:
    augmentation = Augmentation(rotation=0, scale=(1, 1), mirror=(), object_size=(11, 11))
    network = {"name": "unet", "arguments": {"dims": 2, "in_channels": 1, "out_channels": 4}}
    plan = Plan("instances", 2, 1, 1, network, (96, 96), 4, 10, [], augmentation, object_patches=1.0)
    return replace(plan, **changes)  # type: ignore[arg-type]


def test_objects_of_any_size_are_brought_to_the_wanted_one(discs: list[Case]) -> None:
    sampler = PatchSampler(Volumes(discs, _plan()), _plan())
    rng = np.random.default_rng(0)
    zooms = [sampler._object_zoom(int(np.pi / 4 * d**2), rng) for d in (5.5, 11, 44, 2) for _ in range(20)]
    told = [{round(z, 1) for z in zooms[i : i + 20] if z} for i in range(0, 80, 20)]
    assert told == [{2.0}, {1.0}, {0.5}, {3.0}]  # the last two are at the limits
    assert 20 < sum(z is None for z in zooms) < 60


def test_a_step_gives_the_same_batch_again(discs: list[Case]) -> None:
    images, targets = PatchSampler(Volumes(discs, _plan()), _plan()).batch(3)
    again = PatchSampler(Volumes(discs, _plan()), _plan()).batch(3)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(targets, again[1])
    assert images.shape == (4, 1, 96, 96)
    assert targets.shape == (4, 5, 96, 96)
    assert all(target[0].max() == 1 for target in targets)


@pytest.mark.parametrize(
    ("centre", "shape", "patch", "expected"),
    [
        ((0.0, 0.0), (100, 36), (40, 40), (14.5, 12.5)),  # an eighth beyond the border; about the middle
        ((99.0, 35.0), (100, 36), (40, 40), (84.5, 22.5)),
        ((50.0, 18.0), (100, 36), (40, 40), (50.0, 18.0)),
        ((0.0, 10.0, 30.0), (7, 36, 35), (8, 40, 56), (2.0, 12.5, 24.0)),
    ],
)
def test_a_patch_shows_the_image_not_its_reflection(centre, shape, patch, expected) -> None:
    assert _inside(np.array(centre), shape, patch).tolist() == pytest.approx(expected)


def test_plans_of_older_versions_draw_as_they_did(discs: list[Case]) -> None:
    old, new = (
        PatchSampler(Volumes(discs, plan), plan).batch(0)[0]
        for plan in (_plan(object_patches=0.0), _plan(object_patches=0.0, configuration="2d"))
    )
    assert not np.array_equal(old, new)


@pytest.mark.parametrize("classes", [2, 16, 104, 300])
def test_labels_and_guide_are_told_apart_whatever_the_number_of_classes(classes: int) -> None:
    # both lie in the smallest type that holds them, which their one number may not fit
    kind = np.min_scalar_type(classes)
    labels, guide = (
        np.array(one, kind) for one in ([0, 1, classes, classes, 0], [0, classes, classes, 1, classes])
    )
    both = _Both(labels, guide, classes + 1)[...]
    np.testing.assert_array_equal(both % (classes + 1), labels)
    np.testing.assert_array_equal(both // (classes + 1), guide)
