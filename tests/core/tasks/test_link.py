"""Objects are followed through the slices of a stack, one to one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import InputMismatch, OptionError
from deepbio.image import Grid, Image
from deepbio.options import RunOptions
from deepbio.predict import load_model, run
from deepbio.tasks.link import link_objects
from tests.core.tasks.conftest import write_threshold_model

GRID = Grid((5, 13, 29), (1.2, 0.8, 0.5), (-3.0, 8.0, 0.6), unit="micrometer")


def stripes(*parts: tuple[int, int, int], width: int = 29) -> np.ndarray:
    """One row with a label from each start to its stop."""
    row = np.zeros((1, width), np.int32)
    for label, start, stop in parts:
        row[0, start:stop] = label
    return row


def naive(before: np.ndarray, now: np.ndarray, threshold: float, counted: int) -> tuple[np.ndarray, int]:
    pairs = []
    for old in np.unique(before[before > 0]):
        for new in np.unique(now[now > 0]):
            one, other = before == old, now == new
            both = np.count_nonzero(one & other)
            overlap = both / np.count_nonzero(one | other)
            if both and overlap >= threshold:
                pairs.append((-overlap, old, new))
    names: dict[int, int] = {}
    for _, old, new in sorted(pairs):
        if new not in names and old not in names.values():
            names[new] = old
    for new in np.unique(now[now > 0]):
        if new not in names:
            counted += 1
            names[new] = counted
    return np.vectorize(lambda label: names.get(label, 0))(now), counted


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.6])
def test_as_the_definition_says(rng: np.random.Generator, threshold: float) -> None:
    for _ in range(15):
        small = rng.integers(0, 6, (2, 5, 8)).astype(np.int32)
        before, now = small.repeat(rng.integers(1, 4), axis=1).repeat(3, axis=2)
        now = np.roll(now, rng.integers(0, 3), axis=1)
        before = np.where(rng.random(before.shape) < 0.6, now * 3, before * 3)
        labels, counted = link_objects(before, now, threshold, 50)
        expected, highest = naive(before, now, threshold, 50)
        np.testing.assert_array_equal(labels, expected)
        assert (counted, labels.dtype) == (highest, np.int32)


def test_an_object_that_splits_keeps_its_label_in_the_larger_part() -> None:
    before, now = stripes((4, 2, 20)), stripes((1, 2, 7), (2, 8, 20), (3, 25, 27))
    labels, counted = link_objects(before, now, 0.2, 6)
    np.testing.assert_array_equal(labels, stripes((7, 2, 7), (4, 8, 20), (8, 25, 27)))
    assert counted == 8


def test_the_threshold_itself_is_enough() -> None:
    before, now = stripes((4, 0, 10)), stripes((1, 0, 5))
    assert link_objects(before, now, 0.5, 4)[1] == 4
    assert link_objects(before, now, 0.51, 4)[1] == 5


def test_empty_slices() -> None:
    nothing = stripes()
    assert link_objects(nothing, nothing, 0.0, 3)[1] == 3
    np.testing.assert_array_equal(link_objects(nothing, stripes((2, 3, 9)), 0.0, 3)[0], stripes((4, 3, 9)))


def columns(frames: int = 2) -> np.ndarray:
    """TZYX: an object through all slices that drifts, one in slices 2 and 3, one that comes back."""
    pixels = np.zeros((frames, 5, 13, 29), np.uint16)
    for t in range(frames):
        for z in range(5):
            pixels[t, z, 2:8, 1 + z : 9 + z] = 3000 + t
            if z in (1, 2):
                pixels[t, z, 9:12, 20:25] = 2000
            if z in (0, 3):
                pixels[t, z, 0:4, 20:27] = 4000
    return pixels


def expected_labels() -> np.ndarray:
    labels = np.zeros((5, 13, 29), int)
    for z in range(5):
        labels[z, 2:8, 1 + z : 9 + z] = 2
    labels[1:3, 9:12, 20:25] = 3
    labels[0, 0:4, 20:27] = 1
    labels[3, 0:4, 20:27] = 4
    return labels


@pytest.mark.parametrize("per_slice", [False, True])
def test_a_time_lapse_of_stacks(spots2d: Path, per_slice: bool) -> None:
    image = Image(columns(), "TZYX", GRID, frame_interval=2.5)
    result = run(image, load_model(spots2d), RunOptions(per_slice=per_slice, link_slices=0.4))
    assert result.labels.grid == GRID
    for t in range(2):
        np.testing.assert_array_equal(result.labels.numpy()[t], expected_labels())
    table = result.table
    assert "slice" not in table.columns
    assert table["frame"].tolist() == [1] * 4 + [2] * 4
    assert table["label"].tolist() == [1, 2, 3, 4] * 2
    voxel = 1.2 * 0.8 * 0.5
    assert table["volume"] == pytest.approx(np.array([28, 240, 30, 28] * 2) * voxel)
    assert table.units["volume"] == "um^3"
    assert table["centroid_z"] == pytest.approx(np.array([0, 2, 1.5, 3] * 2) * 1.2)
    assert table["centroid_x"] == pytest.approx(np.array([23, 6.5, 22, 23] * 2) * 0.5)
    assert table["mean_intensity"].tolist() == [4000, 3000, 2000, 4000, 4000, 3001, 2000, 4000]
    assert result.record["link_slices"] == 0.4
    assert result.record["options"]["link_slices"] == 0.4


def test_a_higher_threshold_links_less(spots2d: Path) -> None:
    stack = Image(columns()[0], "ZYX", GRID)
    assert run(stack, load_model(spots2d), RunOptions(link_slices=7 / 9)).labels.count == 4
    assert run(stack, load_model(spots2d), RunOptions(link_slices=0.8)).labels.count == 8


def test_channels_are_measured_and_one_is_segmented(spots2d: Path) -> None:
    pixels = np.stack([columns()[0] // 10, columns()[0]], axis=0)
    options = RunOptions(channel="2", link_slices=0.5, output=("table",))
    table = run(Image(pixels, "CZYX", GRID), load_model(spots2d), options).table
    assert table["mean_channel_1"].tolist() == [400, 300, 200, 400]


def test_classes_are_not_changed(tmp_path: Path) -> None:
    path = write_threshold_model(tmp_path, "classes", 2, decode={"method": "classes"}, per_slice=True)
    stack = Image(columns()[0], "ZYX", GRID)
    plain, linked = (run(stack, load_model(path), RunOptions(link_slices=at)) for at in (None, 0.5))
    np.testing.assert_array_equal(plain.labels.numpy(), linked.labels.numpy())
    assert plain.table.columns.keys() == linked.table.columns.keys()
    assert "link_slices" not in linked.record


def test_without_slices_the_way_out_is_told(spots2d: Path, spots3d: Path) -> None:
    options = RunOptions(link_slices=0.5)
    with pytest.raises(InputMismatch, match=r"the image is 2D \(Y=13 x X=29\). Leave link_slices out"):
        run(Image(columns()[0, 0]), load_model(spots2d), options)
    with pytest.raises(InputMismatch, match=r"the model 'spots3d' is 3D\. Leave link_slices out"):
        run(Image(columns()[0], "ZYX"), load_model(spots3d), options)


@pytest.mark.parametrize("text", ["-0.1", "1.5", "nan"])
def test_values_out_of_range(text: str) -> None:
    with pytest.raises(OptionError, match="link_slices"):
        RunOptions.parse({"link_slices": text})
