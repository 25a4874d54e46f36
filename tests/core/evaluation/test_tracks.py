"""Scores of movies: objects frame by frame, links and divisions, through the command as well."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from deepbio.cases import Case
from deepbio.errors import OptionError
from deepbio.evaluation import evaluate, track_scores
from deepbio.events import Notice
from deepbio.image import Image, LabelMap
from deepbio.io import write
from deepbio.io.ctc import write_ctc
from deepbio.metrics.tracks import Counts
from deepbio.options import RunOptions
from deepbio.predict import load_model
from tests.core.command import ONNX, deepbio

OPTIONS = RunOptions(runtime="onnx", device="cpu")
TRACK = OPTIONS.replace(track=True)


def movie() -> np.ndarray:
    """Track 4 divides into 6 and 7 after frame 3; 5 stays as it is; the numbers follow no order of place."""
    labels = np.zeros((8, 40, 60), np.uint16)
    labels[:4, 10:22, 10:22] = 4
    labels[4:, 12:20, 5:13], labels[4:, 12:20, 18:26] = 7, 6
    labels[:, 25:35, 42:52] = 5
    return labels


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """The same movie with its truth as a folder of tracks, and as plain labels."""
    write(tmp_path / "movie.tif", Image(np.where(movie() > 0, 3000, 100).astype(np.uint16), "TYX"))
    write_ctc(tmp_path / "truth", LabelMap(movie(), "TYX"), {6: 4, 7: 4})
    write(tmp_path / "labels.tif", LabelMap(movie(), "TYX"))
    return [Case(tmp_path / "movie.tif", tmp_path / name, "fluo") for name in ("truth", "labels.tif")]


def test_tracks_and_divisions(threshold_model: Path, cases: list[Case]) -> None:
    heard: list[object] = []
    told, plain = evaluate(load_model(threshold_model), cases, TRACK, on_progress=heard.append)
    assert told.tracks is not None
    assert told.tracks.objects == Counts(20, 20, 20)
    assert told.tracks.links == Counts(18, 18, 18)
    assert told.tracks.divisions == Counts(1, 1, 1)
    assert plain.tracks is not None
    assert plain.tracks.divisions is None
    # a label movie alone does not say that 6 and 7 come from 4
    assert plain.tracks.links == Counts(16, 18, 16)
    notices = [event.message for event in heard if isinstance(event, Notice)]
    assert sum("does not say which objects divide" in message for message in notices) == 1
    assert track_scores([told, plain])["all"].divisions == Counts(1, 1, 1)
    (ignored, _) = evaluate(load_model(threshold_model), cases, TRACK.replace(divisions="ignore"))
    assert ignored.tracks is not None
    assert ignored.tracks.divisions is None


def test_objects_of_a_movie_are_those_of_its_frames(threshold_model: Path, cases: list[Case]) -> None:
    """Numbers of the truth stay with an object, those of a result need not."""
    (score, _) = evaluate(load_model(threshold_model), cases, OPTIONS)
    assert (score.ap50, score.ap, score.objects, score.found) == (1.0, 1.0, 20, 20)
    assert score.tracks is None
    assert track_scores([score]) == {}


def test_a_negative_tolerance(threshold_model: Path, cases: list[Case]) -> None:
    with pytest.raises(OptionError, match="The tolerance of divisions is -1 frames"):
        evaluate(load_model(threshold_model), cases, TRACK, division_tolerance=-1)


def test_the_command(threshold_model: Path, cases: list[Case], tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("image,label\nmovie.tif,truth\n")
    words = ["evaluate", threshold_model, data, "--track", "--division-tolerance", "2", *ONNX]
    done = deepbio(*words, "-o", tmp_path / "scores.csv")
    assert done.code == 0, done.err
    assert "Tracks; divisions within 2 frames" in done.out
    lines = [words[1:] for words in map(str.split, done.out.splitlines()) if words[:1] == ["all"]][1:]
    assert lines == [
        ["links", "18", "18", "18", "1.000", "1.000", "1.000"],
        ["divisions", "1", "1", "1", "1.000", "1.000", "1.000"],
    ]
    with (tmp_path / "scores.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["ap50"], row["link_recall"], row["division_f1"], row["division_tolerance"]) == (
        "1.0",
        "1.0",
        "1.0",
        "2",
    )
    score, summary = deepbio(*words, "--json").lines[-2:]
    assert (score["links"], score["divisions_found"]) == (18, 1)
    (tracks,) = summary["tracks"]
    assert (tracks["group"], tracks["division_precision"]) == ("all", 1.0)
