"""OME-Zarr: written in chunks, read in parts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import ImageError, MissingPackage
from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io import info, read, read_labels, write
from deepbio.io.arrays import FileArray

zarr = pytest.importorskip("zarr", reason="the optional package zarr is not installed")
SIZES = {"T": 3, "C": 2, "Z": 5, "Y": 7, "X": 11}


@pytest.mark.parametrize("unit", ["pixel", "micrometer", "millimeter"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "TZYX", "TCZYX"])
def test_images_come_back(tmp_path: Path, oblique, rng: np.random.Generator, axes: str, unit: str) -> None:
    pixels = rng.integers(-900, 900, [SIZES[axis] for axis in axes]).astype(np.int16)
    channels = ("a", "b") if "C" in axes else ()
    image = Image(
        pixels, axes, oblique(3 if "Z" in axes else 2, unit=unit), channels, 2.5 if "T" in axes else None
    )
    write(tmp_path / "a.ome.zarr", image)
    back = read(tmp_path / "a.ome.zarr", lazy=True)
    assert (back.axes, back.channels, back.frame_interval) == (axes, channels, image.frame_interval)
    assert back.grid == image.grid
    assert isinstance(back.array, FileArray)
    np.testing.assert_array_equal(back.array[..., 2:5, ::3], pixels[..., 2:5, ::3])
    np.testing.assert_array_equal(read(tmp_path / "a.ome.zarr").array, pixels)


def test_it_is_what_ngff_says(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 9, (3, 600, 700)).astype(np.uint8)
    write(
        tmp_path / "a.zarr",
        Image(pixels, "CYX", Grid((600, 700), (0.8, 0.5), (7, 9), unit="micrometer"), RGB),
    )
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    ome = group.attrs["ome"]
    scales = ome["multiscales"][0]
    assert ome["version"] == "0.5"
    assert scales["axes"][1:] == [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    assert scales["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1, 0.8, 0.5]},
        {"type": "translation", "translation": [0, 9, 7]},
    ]
    assert group["0"].chunks == (1, 512, 512)
    np.testing.assert_array_equal(group["0"][...], pixels)
    assert read(tmp_path / "a.zarr").is_rgb


@pytest.mark.parametrize("highest", [9, 70000])
def test_labels(tmp_path: Path, highest: int) -> None:
    labels = LabelMap(np.full((5, 7, 11), highest), "ZYX", names={highest: "tumour"})
    write(tmp_path / "a.zarr", labels)
    back = read_labels(tmp_path / "a.zarr")
    assert back.names == {highest: "tumour"}
    assert back.array.dtype == (np.uint16 if highest == 9 else np.uint32)
    np.testing.assert_array_equal(back.array, labels.array)
    assert info(tmp_path / "a.zarr")["format"] == "OME-Zarr"


def old(path: Path, **changes: object) -> Path:
    """A file of version 0.4, as made by others."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("full", shape=(2, 7, 11), dtype="uint8", chunks=(1, 4, 4))[...] = 5
    scales = {
        "axes": [
            {"name": n, "type": "space", "unit": u}
            for n, u in (("z", "nanometer"), ("y", "micrometer"), ("x", "micrometer"))
        ],
        "datasets": [
            {"path": "full", "coordinateTransformations": [{"type": "scale", "scale": [300, 0.4, 0.25]}]}
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 2]}],
        **changes,
    }
    group.attrs["multiscales"] = [scales]
    return path


def test_version_0_4(tmp_path: Path) -> None:
    image = read(old(tmp_path / "a.zarr"))
    assert (image.axes, image.grid.unit) == ("ZYX", "micrometer")
    assert image.grid.spacing == pytest.approx((0.3, 0.8, 0.5))
    assert (image.numpy() == 5).all()


def test_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ImageError, match="not a zarr group"):
        read(tmp_path / "empty.zarr")
    zarr.open_group(str(tmp_path / "plain.zarr"), mode="w")
    with pytest.raises(ImageError, match="without the images of OME"):
        read(tmp_path / "plain.zarr")
    with pytest.raises(ImageError, match="axes 'XYZ'"):
        read(old(tmp_path / "order.zarr", axes=[{"name": n} for n in "xyz"]))
    path = old(tmp_path / "chunk.zarr")
    chunk = next(p for p in (path / "full").rglob("*") if p.is_file() and not p.name.startswith("."))
    chunk.write_bytes(b"no chunk")
    with pytest.raises(ImageError, match=r"chunk\.zarr.*damaged chunk"):
        read(path)


def test_without_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old(tmp_path / "a.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingPackage, match="Reading OME-Zarr") as caught:
        read(tmp_path / "a.zarr")
    assert caught.value.hint.endswith('"deepbio-imaging[zarr]"')
