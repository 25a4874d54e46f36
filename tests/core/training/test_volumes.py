"""Volumes on the working grid: from the cache as from memory, normalised where they are read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from deepbio.cases import Case
from deepbio.engine.geometry import GridSpec, labels_to_working, place, to_working
from deepbio.errors import InputMismatch
from deepbio.events import Event
from deepbio.image import Grid, Image, LabelMap
from deepbio.io import write
from deepbio.training.augment import Augmentation
from deepbio.training.plan import Plan
from deepbio.training.sampler import PatchSampler
from deepbio.training.volumes import Volumes

SHAPE = (5, 7, 11)
GRID = Grid(SHAPE, (1.2, 0.8, 0.5), (3.0, -9.0, 21.0), unit="millimeter")
SCALE = [{"id": "scale_range", "kwargs": {"axes": ["channel", "z", "y", "x"], "max_percentile": 99.8}}]
PLANE = [{"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"], "max_percentile": 100.0}}]
PLAN = Plan(
    "classes", 3, 1, 2, {"name": "unet", "arguments": {"dims": 3}}, (4, 4, 4), 2, 10, SCALE,
    Augmentation(mirror=(0,)), object_patches=0.5, configuration="3d",
    grid={"spacing": [1.0, 1.0, 1.0], "unit": "millimeter", "orientation": "SAR"},
)  # fmt: skip


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Two volumes with two classes."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(2):
        labels = np.zeros(SHAPE, np.uint8)
        labels[1:4, 2:5, 2:6], labels[2:4, 3:6, 6:9] = 1, 2
        values = (labels * 100 + rng.integers(0, 50, SHAPE)).astype(np.int16)
        files = [tmp_path / f"{number}_{kind}.nrrd" for kind in ("image", "labels")]
        write(files[0], Image(values, "ZYX", GRID))
        write(files[1], LabelMap(labels, "ZYX", GRID))
        made.append(Case(*files))
    return made


def test_the_cache_holds_what_memory_holds(cases: list[Case], tmp_path: Path) -> None:
    heard: list[Event] = []
    cached = Volumes(cases, PLAN, tmp_path / "cache")
    cached.prepare(heard.append)
    assert [(e.stage, e.current, e.total) for e in heard][-1] == ("prepare", 2, 2)  # type: ignore[union-attr]
    for one, other in zip(cached, Volumes(cases, PLAN), strict=True):
        assert isinstance(one.labels, np.memmap)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.raw[...], other.raw[...])
        np.testing.assert_allclose(one.image[:, 1:3, 2:], other.image[:, 1:3, 2:], atol=1e-6)
        assert one.image[...].dtype == np.float32
    heard.clear()
    Volumes(cases, PLAN, tmp_path / "cache").prepare(heard.append)
    assert heard == []


def test_it_lies_on_the_working_grid(cases: list[Case]) -> None:
    volume = Volumes(cases, PLAN)[0]
    placement = place(GRID, GridSpec((1.0, 1.0, 1.0), orientation="SAR"))
    assert volume.labels.shape == placement.grid.shape == (6, 6, 6)
    from deepbio.io import read, read_labels

    pixels, labels = read(cases[0].image).numpy(), read_labels(cases[0].labels).numpy()
    np.testing.assert_array_equal(volume.raw, to_working(pixels[None], placement)[...])
    np.testing.assert_array_equal(volume.labels, labels_to_working(labels, placement))
    assert volume.present.tolist() == [1, 2]
    assert (volume.labels.ravel()[volume.places[2]] == 2).all()


def test_without_a_grid_pixels_stay_as_they_are(cases: list[Case], tmp_path: Path) -> None:
    volume = Volumes(cases, replace(PLAN, grid={}), tmp_path / "cache")[1]
    assert volume.raw.dtype == np.int16
    assert volume.raw.shape == (1, *SHAPE)


def test_another_grid_or_file_is_another_entry(cases: list[Case], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    Volumes(cases[:1], PLAN, cache).prepare()
    Volumes(cases[:1], replace(PLAN, grid={}), cache).prepare()
    assert len(list(cache.iterdir())) == 4
    write(cases[0].labels, LabelMap(np.ones(SHAPE, np.uint8), "ZYX", GRID))
    assert Volumes(cases[:1], PLAN, cache)[0].present.tolist() == [1]
    assert len(list(cache.iterdir())) == 6


def test_labels_beyond_the_plan_are_told(cases: list[Case], tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(InputMismatch, match=r"holds the label 2; the plan has 1 classes"):
            _ = Volumes(cases, replace(PLAN, classes=1), cache)[0]


def test_slices_are_images_of_their_own(cases: list[Case], tmp_path: Path) -> None:
    plan = replace(PLAN, dims=2, per_slice=True, normalisation=PLANE, grid={}, patch=(4, 4))
    volume = Volumes(cases, plan, tmp_path / "cache")[0]
    for at in range(SHAPE[0]):
        plane = volume.image[:, at]
        assert (plane.min(), plane.max()) == pytest.approx((0, 1), abs=1e-5)
    images, targets = PatchSampler(Volumes(cases, plan, tmp_path / "cache"), plan).batch(0)
    assert images.shape == (2, 1, 4, 4)
    assert targets.shape == (2, 4, 4)


def test_patches_on_classes_show_each_as_often(cases: list[Case], tmp_path: Path) -> None:
    still = Augmentation(rotation=0, scale=(1, 1), mirror=())
    plan = replace(PLAN, augmentation=still, object_patches=1.0, patch=(2, 2, 2), batch=40)
    _, targets = PatchSampler(Volumes(cases, plan, tmp_path / "cache"), plan).batch(0)
    shown = [np.unique(one) for one in targets]
    for label in (1, 2):
        assert np.mean([label in one for one in shown]) > 0.4
