"""Data sets as nnU-Net and the Decathlon have them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbio.cases import load_sample, read_cases
from deepbio.cases.decathlon import Told, told_of
from deepbio.errors import ImageError
from deepbio.image import Grid, Image, LabelMap
from deepbio.io import write

GRID = Grid((5, 9, 7), (2.0, 0.8, 1.1), (1.0, -4.0, 9.0), unit="millimeter")
NNUNET = {
    "name": "Knees",
    "channel_names": {"1": "T2", "0": "T1"},
    "labels": {"background": 0, "bone": 2, "cartilage": 1},
}
DECATHLON = {
    "name": "Knees",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "cartilage", "2": "bone"},
}


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    """``data(["knee_0000", ...], ["knee"], about)`` makes a data set."""

    def make(images: list[str], labels: list[str], about: dict[str, Any] | None = None) -> Path:
        for part in ("imagesTr", "labelsTr"):
            (tmp_path / part).mkdir()
        for number, name in enumerate(images):
            write(
                tmp_path / "imagesTr" / f"{name}.nii.gz",
                Image(np.full(GRID.shape, number, np.int16), "ZYX", GRID),
            )
        for name in labels:
            write(
                tmp_path / "labelsTr" / f"{name}.nii.gz", LabelMap(np.ones(GRID.shape, np.uint8), "ZYX", GRID)
            )
        if about is not None:
            (tmp_path / "dataset.json").write_text(json.dumps(about))
        return tmp_path

    return make


def test_files_of_channels_are_one_case(data) -> None:
    folder = data(["b_0001", "a_0000", "b_0000", "a_0001"], ["a", "b"], NNUNET)
    cases = read_cases(folder)
    assert [(case.image.name, [path.name for path in case.others], case.labels.name) for case in cases] == [
        ("a_0000.nii.gz", ["a_0001.nii.gz"], "a.nii.gz"), ("b_0000.nii.gz", ["b_0001.nii.gz"], "b.nii.gz"),
    ]  # fmt: skip
    sample = load_sample(cases[1], 2)
    assert sample.image.shape == (2, 5, 9, 7)
    assert [int(channel.max()) for channel in sample.image] == [2, 0]
    assert told_of(folder) == Told("Knees", ("T1", "T2"), {1: "cartilage", 2: "bone"})


def test_the_decathlon_has_one_file_whatever_it_is_called(data) -> None:
    folder = data(["knee_001", "scan_0007"], ["scan_0007", "knee_001"], DECATHLON)
    assert [(case.image.name, case.others) for case in read_cases(folder)] == [
        ("knee_001.nii.gz", ()), ("scan_0007.nii.gz", ()),
    ]  # fmt: skip
    assert told_of(folder) == Told("Knees", ("MRI",), {1: "cartilage", 2: "bone"})


def test_regions_have_no_names_of_labels(data) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    assert told_of(data(["a"], ["a"], {**DECATHLON, "labels": labels})).classes == {}


def test_nothing_is_known_without_a_description(data) -> None:
    assert told_of(data(["a"], ["a"])) == Told()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (["a_0000", "b_0000"], ["a"], "'b' of the data set .* has no labels of this name"),
        (["a_0000"], ["a", "b"], "'b' of the data set .* has no image of this name"),
        (["a_0000", "a_0001", "b_0000"], ["a", "b"], "the image 'b' has 1 files, 'a' has 2"),
    ],
)
def test_what_does_not_belong_together_is_told(data, images, labels, message) -> None:
    with pytest.raises(ImageError, match=message):
        read_cases(data(images, labels))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({**NNUNET, "labels": {"background": 0, "bone": 1, "ignore": 2}}, "to be ignored"),
        ({**NNUNET, "labels": ["bone"]}, "is not what the Decathlon or nnU-Net write"),
        ({**NNUNET, "channel_names": {"first": "T1"}}, "is not what the Decathlon or nnU-Net write"),
        (["a"], "is not what the Decathlon or nnU-Net write"),
    ],
)
def test_a_description_that_cannot_be_understood_is_told(data, about, message) -> None:
    with pytest.raises(ImageError, match=message):
        told_of(data(["a"], ["a"], about))
