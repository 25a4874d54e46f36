"""Sequences from a CSV: which frames are labelled, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from deepbio import io
from deepbio.cases.sequence import load_clips, looks_like_sequences, read_sequences
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import Grid, Image, LabelMap

SHAPE = (5, 2, 7, 9)  # T Z Y X


@pytest.fixture
def folder(tmp_path):
    """A stack through time, labelled in frames 2 and 4."""
    rng = np.random.default_rng(0)
    grid = Grid(SHAPE[1:], (8.0, 1.2, 0.8), unit="millimeter")
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 0, 2:4, 3] = labels[3, 1, 5, 5] = 1
    io.write(
        tmp_path / "movie.nii.gz",
        Image(rng.integers(0, 99, SHAPE).astype(np.int16), "TZYX", grid, frame_interval=0.1),
    )
    io.write(tmp_path / "labels.nii.gz", LabelMap(labels, "TZYX", grid, frame_interval=0.1))
    return tmp_path


def _csv(folder, text):
    path = folder / "data.csv"
    path.write_text(text)
    return path


def test_frames_with_labels_are_the_labelled_ones(folder):
    (case,) = read_sequences(_csv(folder, "image,label\nmovie.nii.gz,labels.nii.gz\n"))
    clips = load_clips(case, "segment")
    assert [clip.slice for clip in clips] == [0, 1]
    assert [clip.labelled for clip in clips] == [[1, 3], [1, 3]]
    assert clips[0].pixels.shape == (5, 1, 7, 9)
    assert clips[0].grid.spacing == pytest.approx((1.2, 0.8))
    assert clips[0].labels[:, 2, 3].tolist() == [-1, 1, -1, 0, -1]


def test_frames_can_be_named_so_that_an_empty_one_counts(folder):
    (case,) = read_sequences(
        _csv(
            folder,
            "image,label,frames,split,patient,group\nmovie.nii.gz,labels.nii.gz,1; 2,val,p7,HF\n",
        )
    )
    assert (case.frames, case.split, case.patient, case.group) == ((1, 2), "val", "p7", "HF")
    assert load_clips(case, "segment")[0].labelled == [0, 1]


def test_classes_of_each_frame_and_of_all(folder):
    each, one = read_sequences(_csv(folder, "image,class\nmovie.nii.gz,a;b;;a;a\nmovie.nii.gz,b\n"))
    assert load_clips(each, "per-frame")[0].classes == ("a", "b", "", "a", "a")
    assert load_clips(one, "per-sequence")[1].classes == ("b",)


@pytest.mark.parametrize(
    ("text", "kind", "error", "found"),
    [
        ("image,label,frames\nmovie.nii.gz,labels.nii.gz,6\n", "segment", ImageError, "5 frames; frame 6"),
        ("image,label,frames\nmovie.nii.gz,labels.nii.gz,0\n", "segment", ImageError, "numbers from 1"),
        ("image,label\nmovie.nii.gz,empty.nii.gz\n", "segment", ImageError, "No frame of .* is labelled"),
        ("image,label\nmovie.nii.gz,short.nii.gz\n", "segment", InputMismatch, "5 frames, its labels have 4"),
        ("image,label\nmovie.nii.gz,small.nii.gz\n", "segment", InputMismatch, "7 rows, its labels have 6"),
        ("image,label\nmovie.nii.gz,\n", "segment", ImageError, "no label image"),
        ("image,class\nmovie.nii.gz,a;b\n", "per-frame", InputMismatch, "5 frames and 2 classes"),
        ("image,class\nmovie.nii.gz,\n", "per-frame", ImageError, "No frame of .* is labelled"),
        ("image,label\nnone.tif,labels.nii.gz\n", "segment", ImageError, "does not exist"),
        ("picture,label\na,b\n", "segment", ImageError, "picture, label"),
    ],
)
def test_what_does_not_fit_is_told(folder, text, kind, error, found):
    grid = Grid(SHAPE[1:], (8.0, 1.2, 0.8), unit="millimeter")
    io.write(folder / "empty.nii.gz", LabelMap(np.zeros(SHAPE, np.uint8), "TZYX", grid, frame_interval=0.1))
    for name, shape in (("short", (4, 2, 7, 9)), ("small", (5, 2, 6, 9))):
        io.write(
            folder / f"{name}.nii.gz",
            LabelMap(np.ones(shape, np.uint8), "TZYX", grid.replace(shape=shape[1:]), frame_interval=0.1),
        )
    with pytest.raises(error, match=found):
        load_clips(read_sequences(_csv(folder, text))[0], kind)


def test_a_column_frames_tells_sequences(folder):
    assert looks_like_sequences(_csv(folder, "image,label,Frames\n"))
    assert not looks_like_sequences(_csv(folder, "image,label\n"))
    assert not looks_like_sequences(folder)


def test_a_label_that_would_mean_unlabelled(folder):
    labels = io.read_labels(folder / "labels.nii.gz")
    pixels = labels.numpy().astype(np.uint16) * 65535  # -1 as int16
    io.write(folder / "labels.nii.gz", LabelMap(pixels, "TZYX", labels.grid))
    (case,) = read_sequences(_csv(folder, "image,label\nmovie.nii.gz,labels.nii.gz\n"))
    with pytest.raises(ImageError, match="holds the label 65535; training takes labels up to 32767"):
        load_clips(case, "segment")
