"""Scores of frames find their place in an array with the axes of the image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepbio.image import Grid, Image
from deepbio.library import ModelCard
from deepbio.options import RunOptions
from deepbio.predict import load_model
from deepbio.tasks.frames import split_frames
from deepbio.tasks.kept import KeptScores
from deepbio.tasks.placed import place_frame, spec_for

from .conftest import write_threshold_model

SIZES = {"T": 2, "C": 3, "Z": 5, "Y": 7, "X": 11}


@pytest.fixture
def card_of(tmp_path: Path) -> Callable[[int], ModelCard]:
    return lambda dims: load_model(write_threshold_model(tmp_path, f"any{dims}d", dims)).card


@pytest.mark.parametrize(
    ("axes", "dims", "expected"),
    [
        ("YX", 2, "CYX"),
        ("CZYX", 3, "CZYX"),
        ("ZYX", 2, "CZYX"),
        ("TCZYX", 2, "TCZYX"),
        ("TYX", 2, "TCYX"),
    ],
)
def test_each_frame_has_its_place(card_of, axes, dims, expected) -> None:
    shape = tuple(SIZES[axis] for axis in axes)
    spatial = tuple(SIZES[axis] for axis in axes if axis in "ZYX")
    grid = Grid(spatial, (1.2, 0.8, 0.5)[3 - len(spatial) :], unit="micrometer")
    image, card = Image(np.zeros(shape, np.uint8), axes, grid), card_of(dims)
    kept = KeptScores(image, ("a", "b"))
    assert kept.image() is None
    options = RunOptions(channel="2" if "C" in axes else "auto", per_slice=True)
    random, whole = np.random.default_rng(0), {}
    for frame in split_frames(image, card, options):
        placed = place_frame(frame.view, grid, spec_for(card, grid))
        scores = random.random((2, *frame.view.shape[1:]), np.float32)
        bands = [(0, 3, scores[:, :3]), (3, scores.shape[1], scores[:, 3:])]
        passed = list(kept.keep(frame, placed, bands))
        assert [(start, stop) for start, stop, _ in passed] == [(0, 3), (3, scores.shape[1])]
        whole[frame.t, frame.z] = scores
    found = kept.image()
    assert (found.axes, found.grid, found.channels) == (expected, grid, ("a", "b"))
    for (t, z), scores in whole.items():
        key = (*(() if t is None else (t,)), slice(None), *(() if z is None else (z,)))
        np.testing.assert_array_equal(found.numpy()[key], scores)
    assert (found.numpy() > 0).mean() > 0.99


def test_names_for_another_number_of_scores_are_left_out(card_of) -> None:
    image, card = Image(np.zeros((7, 11), np.uint8)), card_of(2)
    kept = KeptScores(image, ("a", "b", "c"))
    (frame,) = split_frames(image, card, RunOptions())
    placed = place_frame(frame.view, image.grid, spec_for(card, image.grid))
    for _ in kept.keep(frame, placed, [(0, 7, np.ones((2, 7, 11), np.float32))]):
        pass
    assert kept.image().channels == ()
