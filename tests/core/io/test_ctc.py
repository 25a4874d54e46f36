"""Results of the Cell Tracking Challenge, read back by what the format says."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError
from deepbio.image import LabelMap
from deepbio.io import read_labels
from deepbio.io.ctc import is_ctc, read_ctc, write_ctc


def _lines(folder):
    return [tuple(map(int, line.split())) for line in (folder / "res_track.txt").read_text().splitlines()]


def _check(folder):
    """The challenge's own rules: each label in each of its frames and in no other; parents end first."""
    lines = {label: (begin, end, parent) for label, begin, end, parent in _lines(folder)}
    masks = [tifffile.imread(path) for path in sorted(folder.glob("mask*.tif"))]
    assert all(mask.dtype == np.uint16 for mask in masks)
    found = {label: [] for label in lines}
    for t, mask in enumerate(masks):
        for label in np.unique(mask[mask > 0]):
            found[int(label)].append(t)
    for label, (begin, end, parent) in lines.items():
        assert found[label] == list(range(begin, end + 1))
        assert parent == 0 or lines[parent][1] < begin
    return masks


def _movie():
    """Track 2 misses frame 2; 5 divides into 7 and 8 after frame 2."""
    frames = np.zeros((6, 5, 7), np.int32)
    frames[:, 0, :2] = 2
    frames[2, 0, :2] = 0
    frames[:3, 3, 2:5] = 5
    frames[3:, 3, 1] = 7
    frames[3:, 4, 5] = 8
    return frames


def test_divisions_and_gaps_are_told_by_the_parent(tmp_path):
    write_ctc(tmp_path / "a", LabelMap(_movie(), "TYX"), {7: 5, 8: 5})
    assert _lines(tmp_path / "a") == [(2, 0, 1, 0), (5, 0, 2, 0), (7, 3, 5, 5), (8, 3, 5, 5), (9, 3, 5, 2)]
    masks = _check(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir())[:2] == ["mask000.tif", "mask001.tif"]
    expected = _movie()
    expected[3:, 0, :2] = 9
    assert np.array_equal(np.stack(masks), expected)


def test_daughters_of_a_track_with_a_gap_come_from_its_last_part(tmp_path):
    frames = _movie()
    frames[1, 3] = 0
    write_ctc(tmp_path / "a", LabelMap(frames, "TYX"), {7: 5, 8: 5})
    assert {line[0]: line[3] for line in _lines(tmp_path / "a")} == {2: 0, 5: 0, 7: 10, 8: 10, 9: 2, 10: 5}
    _check(tmp_path / "a")


def test_more_than_a_thousand_frames_and_none_with_an_object(tmp_path):
    write_ctc(tmp_path / "a", LabelMap(np.zeros((1001, 2, 3), np.int32), "TYX"), {})
    assert (tmp_path / "a" / "mask1000.tif").exists()
    assert (tmp_path / "a" / "mask0000.tif").exists()
    assert _lines(tmp_path / "a") == []


def test_what_the_format_cannot_hold(tmp_path):
    with pytest.raises(ImageError, match="movies; the labels have the axes YX"):
        write_ctc(tmp_path / "a", LabelMap(np.zeros((2, 3), np.int32)), {})
    many = np.full((2, 2, 3), 70000, np.int32)
    with pytest.raises(ImageError, match=r"up to the number 70000; .* ends at 65535"):
        write_ctc(tmp_path / "a", LabelMap(many, "TYX"), {})
    assert not (tmp_path / "a").exists()


def test_tracks_come_back(tmp_path):
    assert not is_ctc(tmp_path)
    write_ctc(tmp_path / "a", LabelMap(_movie(), "TYX"), {7: 5, 8: 5})
    labels, parents = read_ctc(tmp_path / "a")
    assert (labels.axes, parents) == ("TYX", {7: 5, 8: 5, 9: 2})
    expected = _movie()
    expected[3:][expected[3:] == 2] = 9
    np.testing.assert_array_equal(labels.numpy(), expected)
    np.testing.assert_array_equal(read_labels(tmp_path / "a").numpy(), expected)


def test_the_truth_of_the_challenge_is_read(tmp_path):
    for t in range(3):
        tifffile.imwrite(tmp_path / f"man_track{t:03d}.tif", np.full((2, 5, 7), t + 1, np.uint16))
    (tmp_path / "man_track.txt").write_text("1 0 0 0\r\n2 1 1 1\r\n\r\n3 2 2 0\r\n")
    labels, parents = read_ctc(tmp_path)
    assert (labels.axes, labels.shape, parents) == ("TZYX", (3, 2, 5, 7), {2: 1})


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "mask001.tif").unlink(), "has no mask of frame 1"),
        (lambda folder: [path.unlink() for path in folder.glob("*.tif")], "has no masks"),
        (
            lambda folder: tifffile.imwrite(folder / "mask002.tif", np.zeros((5, 6), np.uint16)),
            r"shape \(5, 6\); that of frame 0 is \(5, 7\)",
        ),
        (
            lambda folder: (folder / "res_track.txt").write_text("1 0 5\n"),
            "Line 1 of .* is '1 0 5'; expected four whole numbers",
        ),
    ],
)
def test_what_is_no_folder_of_tracks(tmp_path, break_it, message):
    write_ctc(tmp_path / "a", LabelMap(_movie(), "TYX"), {})
    break_it(tmp_path / "a")
    with pytest.raises(ImageError, match=message):
        read_ctc(tmp_path / "a")
