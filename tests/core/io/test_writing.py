"""The way out: label maps that grow piece by piece."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepbio.errors import ImageError, OutputError
from deepbio.image import Image, LabelMap
from deepbio.io import open_labels, read_labels, write


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.nii.gz", "a.nrrd", "a.zarr"])
@pytest.mark.parametrize("highest", [9, 70000])
def test_labels_grow_piece_by_piece(tmp_path: Path, oblique, name: str, highest: int) -> None:
    if name.endswith("zarr"):
        pytest.importorskip("zarr", reason="the optional package zarr is not installed")
    expected = np.zeros((5, 7, 11), int)
    with open_labels(tmp_path / name, (5, 7, 11), axes="ZYX", grid=oblique(3)) as labels:
        assert labels.dtype == np.uint32
        assert not labels.any()
        for z in range(5):
            labels[z, z : z + 2] = expected[z, z : z + 2] = highest - z
        assert not (tmp_path / name).exists()
    assert names(tmp_path) == [name]
    back = read_labels(tmp_path / name)
    assert back.grid == oblique(3)
    assert back.array.dtype == (np.uint16 if highest == 9 else np.uint32)
    np.testing.assert_array_equal(back.array, expected)


def test_frames_and_names(tmp_path: Path) -> None:
    options = {"axes": "TYX", "dtype": np.uint16, "names": {1: "nucleus"}, "frame_interval": 60}
    with open_labels(tmp_path / "a.tif", (3, 7, 11), **options) as labels:
        labels[2] = 1
    back = read_labels(tmp_path / "a.tif")
    assert (back.axes, back.names, back.frame_interval, back.count) == ("TYX", {1: "nucleus"}, 60, 1)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_after_a_failure(tmp_path: Path, failure: type[BaseException]) -> None:
    write(tmp_path / "a.tif", LabelMap(np.ones((7, 11), int)))

    def fail() -> None:
        with open_labels(tmp_path / "a.tif", (7, 11)) as labels:
            labels[:] = 5
            raise failure

    with pytest.raises(failure):
        fail()
    assert names(tmp_path) == ["a.tif"]
    assert read_labels(tmp_path / "a.tif").array.max() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"path": "a.tif", "shape": (7, 11), "axes": "ZYX"}, ImageError, "names 3"),
        ({"path": "a.tif", "shape": (7, 11), "dtype": float}, ImageError, "must be integers"),
        ({"path": "a.tif", "shape": (0, 11)}, ImageError, "size 0"),
        ({"path": "a.csv", "shape": (7, 11)}, OutputError, "cannot hold a LabelMap"),
        ({"path": "no/a.tif", "shape": (7, 11)}, OutputError, "does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(
    tmp_path: Path, arguments: dict, error: type[Exception], words: str
) -> None:
    arguments = {**arguments, "path": tmp_path / arguments["path"]}
    with pytest.raises(error, match=words), open_labels(**arguments):
        pytest.fail("the work was begun")
    assert names(tmp_path) == []


def test_a_full_disk_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with (
        pytest.raises(OutputError, match=r"a\.tif.*no space is left"),
        open_labels(tmp_path / "a.tif", (7, 11)),
    ):
        pytest.fail("the work was begun")
    assert names(tmp_path) == []


def test_systems_without_fallocate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with open_labels(tmp_path / "a.tif", (7, 11)) as labels:
        labels[3] = 1
    assert read_labels(tmp_path / "a.tif").count == 1
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with (
        pytest.raises(OutputError, match="308 bytes are needed, 100 are free"),
        open_labels(tmp_path / "b.tif", (7, 11)),
    ):
        pytest.fail("the work was begun")


def test_overwrite(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", Image(np.zeros((7, 11), np.uint8)), overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / "a.tif", Image(np.zeros((7, 11), np.uint8)), overwrite=False)
