"""The way in: what labels may be, what info tells, how errors name the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError
from deepbio.image import RGB, Grid, Image
from deepbio.io import info, read, read_labels, write


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("highest", "kind"), [(200, np.uint8), (60000, np.uint16), (70000, np.uint32)])
def test_labels_may_be_whole_floats(tmp_path: Path, dtype: type, highest: int, kind: type) -> None:
    pixels = np.zeros((5, 7, 11), dtype)
    pixels[4, 6, 10] = highest
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "ZYX"}, photometric="minisblack")
    labels = read_labels(tmp_path / "a.tif")
    assert labels.array.dtype == kind
    np.testing.assert_array_equal(labels.array, pixels)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.array([[0, 1.5]], np.float32), "not whole"),
        (np.array([[0, np.nan]], np.float32), "not whole"),
        (np.array([[0, -2]], np.float32), "the label -2"),
        (np.array([[0, -2]], np.int16), "the label -2"),
        (
            np.array([[0, 2**63]], np.uint64),
            "the label 9223372036854775808; labels go up to 9223372036854775807",
        ),
    ],
)
def test_what_no_label_can_be(tmp_path: Path, pixels: np.ndarray, words: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(ImageError, match=rf"a\.tif.*{words}"):
        read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", [np.uint32, np.int64, np.uint64, np.float64])
def test_large_labels_are_signed_or_small_enough(tmp_path: Path, kind: type) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 3_000_000_000]]).astype(kind))
    labels = read_labels(tmp_path / "a.tif").numpy()
    assert labels.tolist() == [[0, 3_000_000_000]]
    assert np.result_type(labels.dtype, np.int64) == np.int64  # so that no comparison makes floats of them


def test_a_picture_of_labels_is_no_label_map(tmp_path: Path) -> None:
    write(tmp_path / "a.png", Image(np.zeros((3, 7, 11), np.uint8), "CYX", channels=RGB))
    with pytest.raises(ImageError, match="3 channels; a label map has one") as caught:
        read_labels(tmp_path / "a.png")
    assert "not the picture of it" in caught.value.hint


def test_labels_can_stay_in_the_file(tmp_path: Path) -> None:
    pixels = np.arange(77, dtype=np.uint16).reshape(7, 11)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    labels = read_labels(tmp_path / "a.tif", lazy=True)
    assert not isinstance(labels.array, np.ndarray)
    np.testing.assert_array_equal(labels.array[2:4, 5], pixels[2:4, 5])


def test_info_is_plain_and_complete(tmp_path: Path) -> None:
    grid = Grid((5, 7, 11), (1.2, 0.8, 0.5), (1, 2, 3), unit="micrometer")
    image = Image(np.zeros((3, 2, 5, 7, 11), np.float32), "TCZYX", grid, ("a", "b"), 2.5)
    write(tmp_path / "a.tif", image)
    facts = info(tmp_path / "a.tif")
    assert json.loads(json.dumps(facts)) == facts
    assert facts == {
        "file": str(tmp_path / "a.tif"),
        "format": "TIFF",
        "axes": "TCZYX",
        "shape": [3, 2, 5, 7, 11],
        "pixel type": "float32",
        "bytes": 3 * 2 * 5 * 7 * 11 * 4,
        "spacing": pytest.approx({"z": 1.2, "y": 0.8, "x": 0.5}),
        "unit": "micrometer",
        "origin": pytest.approx([1, 2, 3]),
        "direction": [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
        "channels": ["a", "b"],
        "colour": False,
        "frame interval [s]": 2.5,
        "compression": "none",
    }
    tifffile.imwrite(
        tmp_path / "b.tif", np.zeros((3, 7, 11), np.uint8), photometric="minisblack", metadata=None
    )
    assert "slices (Z)" in info(tmp_path / "b.tif")["notes"][0]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.png", "a.nii.gz", "a.nrrd", "a.mha"])
def test_a_path_may_be_text_and_have_odd_letters(tmp_path: Path, name: str, lazy: bool) -> None:
    folder = tmp_path / "Über uns [1] #2"
    folder.mkdir()
    pixels = np.arange(77, dtype=np.uint8).reshape(7, 11)
    write(str(folder / name), Image(pixels))
    image = read(str(folder / name), lazy=lazy)
    assert image.meta["source"] == str(folder / name)
    np.testing.assert_array_equal(image.numpy(), pixels)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.nii", "a.nrrd", "a.mha"])
def test_one_pixel(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, Image(np.array([[7]], np.uint8)))
    image = read(tmp_path / name)
    assert (image.axes, image.array.tolist()) == ("YX", [[7]])


def test_a_file_without_right_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", Image(np.zeros((7, 11), np.uint8)))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ImageError, match=r"no right to read '.*a\.tif'"):
        read(tmp_path / "a.tif")


def test_errors_of_the_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", Image(np.zeros((7, 11), np.uint8)))

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tifffile, "TiffFile", fail)
    with pytest.raises(ImageError, match=r"a\.tif' cannot be read: Input/output error"):
        read(tmp_path / "a.tif")
