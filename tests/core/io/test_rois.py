"""Zips of ImageJ ROIs: what is in them, and that the real ImageJ fills the same pixels."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbio.errors import ImageError, MissingPackage, OutputError
from deepbio.image import LabelMap
from deepbio.io.lut import label_colours
from deepbio.io.outlines import outlines_of, trace_outlines
from deepbio.io.rois import check_rois, encode_roi, is_hyperstack, read_rois, write_rois

roifile = pytest.importorskip("roifile")

SIZES = {"T": 3, "Z": 5, "Y": 7, "X": 11}


def noise(rng: np.random.Generator, axes: str, highest: int = 4) -> np.ndarray:
    return rng.integers(0, highest + 1, [SIZES[axis] for axis in axes])


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
@pytest.mark.parametrize("hyperstack", [None, False, True])
def test_there_and_back(tmp_path: Path, rng: np.random.Generator, axes: str, hyperstack: bool | None) -> None:
    labels = LabelMap(noise(rng, axes), axes)
    write_rois(tmp_path / "a.zip", labels, hyperstack=hyperstack)
    expected, found = list(outlines_of(labels)), read_rois(tmp_path / "a.zip")
    assert [(o.label, o.z, o.t, o.name) for o in found] == [(o.label, o.z, o.t, o.name) for o in expected]
    for one, other in zip(found, expected, strict=True):
        assert len(one.paths) == len(other.paths)
        for path, wanted in zip(one.paths, other.paths, strict=True):
            np.testing.assert_array_equal(path, wanted)


def test_names_are_safe_unique_and_say_the_class(tmp_path: Path) -> None:
    labels = LabelMap(np.array([[1, 2, 0, 3]]), names={1: "left/right", 2: "ventrikel é \U0001f600"})
    write_rois(tmp_path / "a.zip", labels)
    names = [roi.name for roi in roifile.roiread(tmp_path / "a.zip")]
    assert names == ["1 left_right", "2 ventrikel é _", "3"]
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == [f"{name}.roi" for name in names]
    assert [outline.label for outline in read_rois(tmp_path / "a.zip")] == [1, 2, 3]


@pytest.mark.parametrize(("label", "index"), [(1, 1), (255, 255), (256, 1), (511, 1), (70000, 130)])
def test_colours_are_those_of_the_labels(label: int, index: int) -> None:
    (outline,) = trace_outlines(np.array([[0, label]]))
    roi = roifile.ImagejRoi.frombytes(encode_roi(outline))
    assert roi.stroke_color == bytes([255, *label_colours()[:, index]])


def test_equal_labels_give_equal_files(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = LabelMap(noise(rng, "ZYX"), "ZYX")
    for name in ("a.zip", "b.zip"):
        write_rois(tmp_path / name, labels)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_no_object_gives_an_empty_zip(tmp_path: Path) -> None:
    write_rois(tmp_path / "a.zip", LabelMap(np.zeros((3, 5), np.uint16)))
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == []
    assert read_rois(tmp_path / "a.zip") == []


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_text("old")
    monkeypatch.setattr(
        "deepbio.io.rois.encode_roi", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OutputError, match=r"a\.zip"):
        write_rois(tmp_path / "a.zip", LabelMap(np.ones((3, 5), int)))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.zip", "old")]


def test_without_roifile_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "roifile", None)
    for call in (check_rois, lambda: write_rois(tmp_path / "a.zip", LabelMap(np.ones((3, 5), int)))):
        with pytest.raises(MissingPackage, match=r"'roifile'.*\[fiji\]"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_zip_of_outlines_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("Hello")
    with pytest.raises(ImageError, match="no zip of ROIs: it begins with the text 'Hello'"):
        read_rois(tmp_path / "a.zip")
    for name, content in (
        ("12.roi", b"Hello, this is no ROI"),
        ("0001-0002.roi", roifile.ImagejRoi(name="cell").tobytes()),
    ):
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(ImageError, match=r"b\.zip"):
            read_rois(tmp_path / "b.zip")


@pytest.fixture(scope="module")
def seen(java: Callable[..., str]) -> Callable[[Path, LabelMap], dict[str, Any]]:
    """What ImageJ reads from a zip, and the pixels when it has filled each ROI with its number."""

    def look(path: Path, labels: LabelMap) -> dict[str, Any]:
        sizes = [labels.shape[labels.axes.index(axis)] if axis in labels.axes else 1 for axis in "XYZT"]
        found = json.loads(java("rois", path, *sizes))
        found["pixels"] = np.array(found["pixels"]).reshape(labels.shape)
        return found

    return look


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
@pytest.mark.parametrize("hyperstack", [None, True])
def test_imagej_fills_the_same_pixels(
    tmp_path: Path, seen: Any, rng: np.random.Generator, axes: str, hyperstack: bool | None
) -> None:
    labels = LabelMap(noise(rng, axes), axes, names={2: "é"})
    write_rois(tmp_path / "a.zip", labels, hyperstack=hyperstack)
    found = seen(tmp_path / "a.zip", labels)
    np.testing.assert_array_equal(found["pixels"], labels.array)
    for roi, outline in zip(found["rois"], outlines_of(labels), strict=True):
        z, t = (0 if at is None else at + 1 for at in (outline.z, outline.t))
        index = tuple(at for at in (outline.t, outline.z) if at is not None)
        assert roi["name"] == outline.name + (" é" if outline.label == 2 else "")
        assert roi["count"] == np.count_nonzero(labels.array[index] == outline.label)
        placed = axes != "YX" and bool(hyperstack or axes == "TZYX")
        assert roi["hyperstack"] == placed
        if placed:
            assert roi["position"] == [0, 0, z, t]
        else:
            assert roi["position"][0] == max(z, t)
        assert roi["colour"] == "ff" + bytes(label_colours()[:, outline.label]).hex()


def ring_and_parts() -> np.ndarray:
    """A ring in a frame, a V of corners that touch, a square at the border, and parts far from each other."""
    labels = np.zeros((23, 31), np.uint8)
    labels[1:12, 2:15] = 1
    labels[3:9, 4:13] = 0
    labels[5:7, 6:9] = 1
    labels[range(14, 20), range(3, 9)] = labels[range(14, 20), range(15, 9, -1)] = labels[20, 9] = 2
    labels[18:, 25:] = 3
    labels[0, 30] = labels[2, 20] = labels[3, 21] = 4
    return labels


def test_imagej_knows_traced_and_composite_selections(tmp_path: Path, seen: Any) -> None:
    labels = LabelMap(ring_and_parts())
    write_rois(tmp_path / "a.zip", labels)
    found = seen(tmp_path / "a.zip", labels)
    np.testing.assert_array_equal(found["pixels"], labels.array)
    assert [roi["kind"] for roi in found["rois"]] == ["Composite", "Traced", "Traced", "Composite"]


def test_imagej_reads_what_16_bits_do_not_hold(tmp_path: Path, seen: Any) -> None:
    labels = np.zeros((3, 70001), np.uint8)
    labels[1, 10:60600] = 1
    labels[:, 60700:] = 2
    labels[0, 3:9] = 3
    labels[2, 59000:60535] = 4
    write_rois(tmp_path / "a.zip", LabelMap(labels))
    found = seen(tmp_path / "a.zip", LabelMap(labels))
    np.testing.assert_array_equal(found["pixels"], labels)
    assert [roi["kind"] for roi in found["rois"]] == ["Composite", "Composite", "Traced", "Traced"]


def test_what_imagej_calls_a_hyperstack() -> None:
    assert not is_hyperstack(LabelMap(np.zeros((1, 5, 7, 11), int), "TZYX"))
    assert is_hyperstack(LabelMap(np.zeros((2, 5, 7, 11), int), "TZYX"))
