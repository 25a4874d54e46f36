"""Divisions in movies whose truth is known, and what looks like one and is none."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tifffile

from deepbio import RunOptions, load_model, read
from deepbio.batch import run_many
from deepbio.errors import OptionError
from deepbio.image import Grid
from deepbio.inputs import find_inputs
from deepbio.io import read_labels
from deepbio.tasks.divide import Dividing, divided
from deepbio.tasks.track import track_labels, track_table

SHAPE = (49, 73)


def _movie(frames):
    """Frames of ellipses: each (y, x, semi-axis along y, along x); labels in the order given."""
    y, x = np.indices(SHAPE)
    movie = np.zeros((len(frames), *SHAPE), int)
    for frame, objects in zip(movie, frames, strict=True):
        for label, (cy, cx, ry, rx) in enumerate(objects, start=1):
            frame[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = label
    return movie


def _told(frames, **rules):
    tracks, parents = divided(track_labels(_movie(frames)), Dividing(**rules))
    return tracks, parents


MOTHER = [(24, 30, 8, 7)]
BYSTANDER = (10, 60, 6, 7)


def _daughters(apart, radius=5):
    return [(24 - 0.2 * apart, 30 - apart, radius, radius), (24 + 0.2 * apart, 30 + apart, radius, radius)]


# near daughters: one of them is linked to the mother at first; far ones: both tracks begin
@pytest.mark.parametrize("apart", [6, 13])
def test_a_mother_ends_and_two_daughters_begin(apart):
    frames = [[*MOTHER, BYSTANDER]] * 3 + [[*_daughters(apart), BYSTANDER]] * 3
    before = track_labels(_movie(frames))
    tracks, parents = divided(before)
    mother, other = int(tracks[0, 24, 30]), int(tracks[0, 10, 60])
    left = int(tracks[3, round(24 - 0.2 * apart), 30 - apart])
    right = int(tracks[3, round(24 + 0.2 * apart), 30 + apart])
    assert parents == {left: mother, right: mother}
    assert len({mother, other, left, right}) == 4
    assert [mother in frame for frame in tracks] == [True] * 3 + [False] * 3
    assert (tracks == other).sum() == (before == other).sum()  # who does not divide keeps the number
    assert np.array_equal(tracks > 0, before > 0)
    assert (mother in before[3]) is (apart == 6)


def test_a_mother_that_condenses_first_and_is_missed_in_one_frame():
    """As in examples/timelapse.tif: the plate of chromosomes has a fifth of the nucleus' area."""
    condensed = [(24, 30, 6, 3)]
    frames = [MOTHER] * 4 + [[(24, 30, 7, 5)]] + [condensed] * 2 + [[]] + [_daughters(6, 3)] * 2
    _, parents = _told(frames)
    assert sorted(parents.values()) == [1, 1]
    assert _told(frames, gap=0)[1] == {}


def test_two_divisions_one_after_the_other_are_a_tree():
    def second(apart):
        return [(24 - apart, 18, 4, 4), (24 + apart, 18, 4, 4), (24, 44, 6, 6)]

    frames = (
        [[(24, 30, 9, 9)]] * 3 + [[(24, 20, 6, 6), (24, 40, 6, 6)]] * 3 + [second(5)] * 2 + [second(6)] * 2
    )
    tracks, parents = _told(frames)
    first = {n for n, mother in parents.items() if mother == 1}
    assert len(first) == 2
    (divides,) = first & set(parents.values())
    assert int(tracks[4, 24, 20]) == divides
    assert {int(tracks[-1, 18, 18]), int(tracks[-1, 30, 18])} == {
        n for n, m in parents.items() if m == divides
    }
    assert len(parents) == 4
    assert int(tracks[-1, 24, 44]) in first - {divides}


def test_two_neighbours_divide_at_once_and_keep_their_own_daughters():
    def pair(y):
        return [(y, 24, 4.5, 4.5), (y, 36, 4.5, 4.5)]

    frames = [[(15, 30, 6, 7), (33, 30, 6, 7)]] * 3 + [pair(15) + pair(33)] * 3
    tracks, parents = _told(frames)
    for y in (15, 33):
        assert [parents[int(tracks[3, y, x])] for x in (24, 36)] == [int(tracks[0, y, 30])] * 2


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([MOTHER] * 3 + [[*MOTHER, (24, 46, 8, 7)]] * 3, "a neighbour comes: nobody has become smaller"),
        ([MOTHER] * 3 + [[*MOTHER, (24, 40, 3, 3)]] * 3, "a crumb beside a cell that goes on as it was"),
        (
            [MOTHER] * 3 + [[(24, 28, 7, 6), (24, 37, 3, 3)]] * 3,
            "a piece is cut off: not as large as the rest",
        ),
        ([MOTHER] * 3 + [_daughters(6)] + [MOTHER] * 3, "cut in two in one frame only"),
        ([MOTHER] * 3 + [_daughters(6)], "nothing follows that would confirm it"),
        ([MOTHER] + [_daughters(6)] * 3, "a mother seen once"),
        ([MOTHER] * 3 + [_daughters(20)] * 3, "daughters too far apart"),
        ([MOTHER] * 3 + [[(24, 38, 5, 5), (24, 49, 5, 5)]] * 3, "both on one side of the mother"),
        ([MOTHER] * 3 + [[]] * 2 + [_daughters(6)] * 3, "two frames without either"),
    ],
)
def test_what_is_no_division(frames, why):
    tracks, parents = _told(frames)
    assert parents == {}, why
    assert np.array_equal(tracks, track_labels(_movie(frames))), why


def test_cells_that_were_seen_as_one_for_a_while_do_not_divide_when_they_part():
    apart, merged = [(24, 23, 6, 6), (24, 37, 6, 6)], [(24, 30, 6, 13)]
    closer = [(24, 24, 6, 6), (24, 36, 6, 6)]
    frames = [apart] * 2 + [closer] + [merged] * 4 + [closer] * 3
    assert _told(frames)[1] == {}
    # the memory of it ends, and without it the same split counts
    assert len(_told(frames, merged=0)[1]) == 2


def test_the_table_tells_the_parent():
    tracks, parents = _told([[*MOTHER, BYSTANDER]] * 3 + [[*_daughters(6), BYSTANDER]] * 3)
    table = track_table(tracks, Grid(SHAPE, (0.5, 0.25), unit="micrometer"), parents=parents)
    assert list(table.columns)[:3] == ["track", "parent", "frame"]
    told = dict(zip(table["track"].tolist(), table["parent"].tolist(), strict=True))
    assert told == {1: 0, 2: 0, 3: 1, 4: 1} or told == {1: 0, 2: 0, **parents}
    ends = dict(zip(table["track"].tolist(), table["end"].tolist(), strict=True))
    starts = dict(zip(table["track"].tolist(), table["start"].tolist(), strict=True))
    mother = next(iter(parents.values()))
    assert ends[mother] == 3
    assert {starts[daughter] for daughter in parents} == {4}
    assert "parent" not in track_table(tracks, Grid(SHAPE)).columns


def test_an_empty_movie():
    found, parents = divided(np.zeros((3, 4, 5), int))
    assert (found.max(), parents) == (0, {})


def test_the_one_division_of_the_example_movie_is_told():
    """Seen by eye: a nucleus condenses in frame 5 and is two from frame 8 on; another condenses at the end."""
    model = load_model("nuclei")
    image = read("examples/timelapse.tif")
    table = model.run(image, RunOptions(track=True)).table
    rows = {int(n): k for k, n in enumerate(table["track"])}
    daughters = [k for k in rows.values() if table["parent"][k]]
    assert [int(table["start"][k]) for k in daughters] == [8, 8]
    assert len({int(table["parent"][k]) for k in daughters}) == 1
    mother = rows[int(table["parent"][daughters[0]])]
    assert (int(table["start"][mother]), int(table["end"][mother])) == (1, 7)
    assert abs(float(table["y"][mother]) - 112) < 4
    assert abs(float(table["x"][mother]) - 58) < 4
    ignored = model.run(image, RunOptions(track=True, divisions="ignore"))
    assert "parent" not in ignored.table.columns
    assert "divisions" not in ignored.record


def test_tracks_are_saved_as_the_cell_tracking_challenge_has_them(tmp_path):
    image = tmp_path / "movie.tif"
    shutil.copy("examples/timelapse.tif", image)
    model, options = load_model("nuclei"), RunOptions(track=True)
    rows = run_many(model, [image], tmp_path / "out", options, save=("labels", "ctc"))
    assert rows[0].message == ""
    folder = tmp_path / "out" / "movie-ctc"
    assert len(list(folder.glob("mask*.tif"))) == 24
    lines = [list(map(int, line.split())) for line in (folder / "res_track.txt").read_text().splitlines()]
    daughters = [line for line in lines if line[3]]
    assert [line[1:3] for line in daughters] == [[7, 23], [7, 23]]
    assert [line[1:3] for line in lines if line[0] == daughters[0][3]] == [[0, 6]]
    labels = read_labels(tmp_path / "out" / "movie-labels.tif").numpy()
    assert np.array_equal(labels[23], tifffile.imread(folder / "mask023.tif"))
    # done is done; a folder that is there is replaced when that is asked for; masks are no inputs
    assert run_many(model, [image], tmp_path / "out", options, save=("labels", "ctc"))[0].status == "skipped"
    again = run_many(model, [image], tmp_path / "out", options, save=("labels", "ctc"), overwrite=True)
    assert again[0].status == "done"
    assert [one.path for one in find_inputs([str(tmp_path / "**/*.tif")])] == [image]
    with pytest.raises(OptionError, match="Only tracks can be saved as ctc"):
        run_many(model, [image], tmp_path / "other", save=("ctc",))
