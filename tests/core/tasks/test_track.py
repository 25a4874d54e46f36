"""Tracks: which objects are one, gaps, births, and the table."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio import RunOptions, load_model
from deepbio.errors import InputMismatch
from deepbio.image import Grid, Image
from deepbio.tasks.track import Tracking, smoothed_path, track_labels, track_table


def _disks(places, shape=(40, 60), radius=4):
    """A frame with a disk at each place, numbered as told."""
    frame = np.zeros(shape, int)
    y, x = np.indices(shape)
    for label, (cy, cx) in places.items():
        frame[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = label
    return frame


def test_two_objects_that_move_keep_their_numbers_however_they_are_numbered():
    frames = np.stack([_disks({1 + t % 2: (10, 10 + 3 * t), 2 - t % 2: (30, 50 - 3 * t)}) for t in range(8)])
    tracks = track_labels(frames)
    assert np.unique(tracks).tolist() == [0, 1, 2]
    assert [int(tracks[t, 10, 10 + 3 * t]) for t in range(8)] == [1] * 8
    assert [int(tracks[t, 30, 50 - 3 * t]) for t in range(8)] == [2] * 8
    assert np.array_equal(tracks > 0, frames > 0)


def test_the_whole_cost_is_least_not_the_first_pair():
    """The right one could take either; greedy by distance would leave the left one without a partner."""
    before, now = _disks({1: (20, 20), 2: (20, 30)}), _disks({1: (20, 26), 2: (20, 36)})
    tracks = track_labels(np.stack((before, now)))
    assert int(tracks[1, 20, 24]) == 1
    assert int(tracks[1, 20, 37]) == 2


@pytest.mark.parametrize(("missing", "same"), [(1, True), (2, True), (3, False)])
def test_gaps_are_closed_up_to_their_length(missing, same):
    frames = [_disks({1: (20, 20)})] + [_disks({})] * missing + [_disks({5: (21, 22)})]
    tracks = track_labels(np.stack(frames), Tracking(gap=2))
    assert (int(tracks[-1, 21, 22]) == 1) is same


def test_what_is_too_far_or_too_large_is_another_object():
    far = track_labels(np.stack((_disks({1: (20, 10)}), _disks({1: (20, 40)}))))
    large = track_labels(np.stack((_disks({1: (20, 20)}, radius=2), _disks({1: (20, 20)}, radius=9))))
    assert int(far[1, 20, 40]) == int(large[1, 20, 20]) == 2


def test_frames_without_objects_and_an_empty_movie():
    assert track_labels(np.zeros((3, 4, 5), int)).max() == 0
    assert len(track_table(np.zeros((3, 4, 5), int), Grid((4, 5)))) == 0


def test_the_table_tells_tracks_in_the_units_of_the_grid():
    frames = np.stack([_disks({3: (10, 10 + 4 * t)}) if t != 2 else _disks({}) for t in range(5)])
    table = track_table(track_labels(frames), Grid((40, 60), (0.5, 0.25), unit="micrometer"), 30.0)
    assert table["track"].tolist() == [1] * 4
    assert table["frame"].tolist() == [1, 2, 4, 5]
    assert table["time"].tolist() == [0, 30, 90, 120]
    assert table["y"].tolist() == [5.0] * 4
    assert table["x"].tolist() == [2.5, 3.5, 5.5, 6.5]
    np.testing.assert_allclose(table["x_smooth"], table["x"])  # a straight path stays
    assert table["area"].tolist() == [49 * 0.125] * 4
    assert (table["start"].tolist(), table["end"].tolist(), table["length"].tolist()) == (
        [1] * 4,
        [5] * 4,
        [4] * 4,
    )
    assert table.units["x"] == "um"
    assert table.units["area"] == "um^2"


def test_a_path_that_shakes_is_calmed():
    frames = np.arange(20)
    shaking = np.column_stack((frames + 0.5 * (-1.0) ** frames, 2.0 * frames))
    calm = smoothed_path(shaking, frames, 1.5)
    assert np.abs(np.diff(calm[:, 0], 2)).max() < 0.15 * np.abs(np.diff(shaking[:, 0], 2)).max()
    np.testing.assert_allclose(calm[:, 1], shaking[:, 1], atol=1e-9)


@pytest.fixture(scope="module")
def model():
    return load_model("nuclei")


def test_objects_of_a_movie_keep_their_numbers(model):
    frames = np.stack([_disks({1: (20, 20 + 2 * t), 2: (44, 70 - 2 * t)}, (64, 96), 7) for t in range(3)])
    rng = np.random.default_rng(0)
    pixels = (30 + 170 * (frames > 0) + rng.normal(0, 4, frames.shape)).clip(0, 255).astype(np.uint8)
    image = Image(pixels, "TYX", Grid((64, 96), (0.5, 0.7), unit="micrometer"), frame_interval=60.0)
    result = model.run(image, RunOptions(track=True))
    labels = result.labels.numpy()
    assert result.labels.axes == "TYX"
    assert labels[:, 20, 24].tolist()[0] > 0
    first = int(labels[0, 20, 20])
    assert [int(labels[t, 20, 20 + 2 * t]) for t in range(3)] == [first] * 3
    assert set(result.table.columns) >= {"track", "frame", "y", "x", "area", "start", "end"}
    assert result.record["tracks"] == labels.max()


@pytest.mark.parametrize(("axes", "shape"), [("YX", (32, 32)), ("TZYX", (2, 3, 32, 32))])
def test_there_must_be_frames_of_one_slice(model, axes, shape):
    with pytest.raises(InputMismatch, match="track"):
        model.run(Image(np.zeros(shape, np.uint8), axes), RunOptions(track=True))


def test_a_movie_whose_frames_are_told_as_slices_says_so(model):
    with pytest.raises(InputMismatch) as caught:
        model.run(Image(np.zeros((3, 32, 32), np.uint8), "ZYX"), RunOptions(track=True))
    assert "Z for T" in caught.value.hint


def test_classes_are_not_followed():
    with pytest.raises(InputMismatch, match="classes"):
        load_model("heart-lv").run(Image(np.zeros((2, 96, 96), np.uint8), "TYX"), RunOptions(track=True))
