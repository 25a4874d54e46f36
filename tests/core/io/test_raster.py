"""PNG and JPEG: what is shown is what is read."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from deepbio.errors import ImageError, OutputError
from deepbio.image import RGB, Image, LabelMap
from deepbio.io import info, read, read_labels, write


@pytest.fixture
def colour(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (7, 11, 3)).astype(np.uint8)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_comes_back(tmp_path: Path, rng: np.random.Generator, dtype: type, lazy: bool) -> None:
    grey = rng.integers(0, np.iinfo(dtype).max, (7, 11)).astype(dtype)
    rgb = rng.integers(0, np.iinfo(dtype).max, (3, 7, 11)).astype(dtype)
    write(tmp_path / "grey.png", Image(grey))
    write(tmp_path / "rgb.png", Image(rgb, "CYX", channels=RGB))
    first, second = read(tmp_path / "grey.png", lazy=lazy), read(tmp_path / "rgb.png", lazy=lazy)
    assert (first.axes, first.dtype, second.axes, second.dtype, second.is_rgb) == (
        "YX",
        dtype,
        "CYX",
        dtype,
        True,
    )
    np.testing.assert_array_equal(first.numpy(), grey)
    np.testing.assert_array_equal(second.numpy(), rgb)
    assert info(tmp_path / "rgb.png")["format"] == "PNG"


def test_masks_are_black_and_white(tmp_path: Path) -> None:
    mask = np.eye(7, 11, dtype=bool)
    write(tmp_path / "a.png", Image(mask))
    np.testing.assert_array_equal(read(tmp_path / "a.png").array, mask * np.uint8(255))
    Pillow.fromarray(mask).save(tmp_path / "bits.png")
    assert read(tmp_path / "bits.png").dtype == bool


def test_jpeg_is_close(tmp_path: Path) -> None:
    y, x = np.mgrid[:70, :110]
    smooth = np.stack([y * 2, x, y + x]).astype(np.uint8)
    write(tmp_path / "a.jpg", Image(smooth, "CYX", channels=RGB))
    back = read(tmp_path / "a.jpg")
    assert back.is_rgb
    assert back.meta["format"] == "JPEG"
    assert np.abs(back.numpy().astype(int) - smooth).max() < 12
    write(tmp_path / "b.jpeg", Image(smooth[0]))
    assert read(tmp_path / "b.jpeg").axes == "YX"


def test_palettes(tmp_path: Path, colour: np.ndarray) -> None:
    indices = (np.arange(77) % 5).astype(np.uint8).reshape(7, 11)
    for name, table in (
        ("colour", [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]),
        ("grey", [i * 50 for i in range(5) for _ in "rgb"]),
    ):
        picture = Pillow.fromarray(indices, "P")
        picture.putpalette(table)
        picture.save(tmp_path / f"{name}.png")
        shown = np.array(table, np.uint8).reshape(5, 3)[indices]
        image = read(tmp_path / f"{name}.png")
        assert image.is_rgb == (name == "colour")
        np.testing.assert_array_equal(
            image.array, np.moveaxis(shown, -1, 0) if name == "colour" else shown[..., 0]
        )
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.png").array, indices)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_alpha(tmp_path: Path, rng: np.random.Generator, grey: bool, deep: bool, lazy: bool) -> None:
    dtype = np.uint16 if deep else np.uint8
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top, (7, 11, 2 if grey else 4)).astype(dtype)
    pixels[..., -1] = top
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    image = read(tmp_path / "a.png", lazy=lazy)
    assert (image.axes, image.is_rgb) == (("YX", False) if grey else ("CYX", True))
    np.testing.assert_array_equal(
        image.numpy(), pixels[..., 0] if grey else np.moveaxis(pixels[..., :3], -1, 0)
    )
    pixels[3, 4, -1] -= 1
    (tmp_path / "b.png").write_bytes(imagecodecs.png_encode(pixels))
    with pytest.raises(ImageError, match=r"b\.png.*transparent"):
        read(tmp_path / "b.png", lazy=lazy).numpy()


def test_a_transparent_colour(tmp_path: Path, colour: np.ndarray) -> None:
    Pillow.fromarray(colour).save(tmp_path / "a.png", transparency=tuple(int(n) for n in colour[2, 3]))
    with pytest.raises(ImageError, match="transparent"):
        read(tmp_path / "a.png")


def test_a_turned_picture_is_told(tmp_path: Path, colour: np.ndarray) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(colour).save(tmp_path / "a.jpg", exif=exif)
    image = read(tmp_path / "a.jpg")
    assert image.shape == (3, 7, 11)
    assert "turned" in image.meta["notes"][0]


def test_other_colours_are_refused(tmp_path: Path, colour: np.ndarray) -> None:
    Pillow.fromarray(colour).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="colour type CMYK"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize("part", [0.05, 0.4, 0.8, 0.97])
@pytest.mark.parametrize("name", ["a.png", "deep.png", "a.jpg"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_picture_that_is_cut_off(
    tmp_path: Path, rng: np.random.Generator, name: str, part: float, lazy: bool
) -> None:
    dtype = np.uint16 if name == "deep.png" else np.uint8
    write(tmp_path / name, Image(rng.integers(0, 256, (3, 70, 110)).astype(dtype), "CYX", channels=RGB))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ImageError, match=name.replace(".", r"\.")):
        read(tmp_path / name, lazy=lazy).numpy()


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.png", b"text file"), ("a.jpg", b"\x89PNG\r\n\x1a\n123"), ("a.png", b"\xff\xd8\xff" + bytes(9))],
)
def test_what_is_no_picture(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=r"is not a (PNG|JPEG) image: it begins"):
        read(tmp_path / name)


def test_a_giant_is_refused_before_it_fills_memory(tmp_path: Path, colour: np.ndarray) -> None:
    import struct
    import zlib

    write(tmp_path / "a.png", Image(colour[..., 0]))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png.*too large"):
        read(tmp_path / "a.png")


def test_labels(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [65535, 7]])
    write(tmp_path / "a.png", LabelMap(labels))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").array, labels)
    with pytest.raises(OutputError, match="lossy"):
        write(tmp_path / "a.jpg", LabelMap(labels))
    with pytest.raises(OutputError, match="labels up to 65536"):
        write(tmp_path / "a.png", LabelMap(labels + 1))


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("a.png", Image(np.zeros((2, 7, 11), np.uint8), "ZYX"), "axes ZYX"),
        ("a.png", Image(np.zeros((3, 7, 11), np.uint8), "CYX"), "axes CYX"),
        ("a.png", Image(np.zeros((7, 11), np.float32)), "the image is float32"),
        ("a.jpg", Image(np.zeros((7, 11), np.uint16)), "holds uint8, the image is uint16"),
    ],
)
def test_what_a_picture_cannot_hold(tmp_path: Path, name: str, image: Image, words: str) -> None:
    with pytest.raises(OutputError, match=words) as caught:
        write(tmp_path / name, image)
    assert ".tif" in caught.value.hint
    assert str(tmp_path / name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
