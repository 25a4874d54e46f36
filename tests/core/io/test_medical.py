"""NIfTI, NRRD and MetaImage: the same pixels at the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from deepbio.errors import ImageError, OutputError
from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io import info, read, read_labels, write

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"]


def assert_same_place(found: Grid, expected: Grid) -> None:
    assert found == expected
    np.testing.assert_allclose(found.spacing, expected.spacing, rtol=1e-6, atol=0)
    np.testing.assert_allclose(found.origin, expected.origin, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.direction, expected.direction, rtol=0, atol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_phantom_comes_back(tmp_path: Path, phantom: Image, suffix: str, lazy: bool) -> None:
    write(tmp_path / f"a{suffix}", phantom)
    back = read(tmp_path / f"a{suffix}", lazy=lazy)
    assert (back.axes, back.dtype) == ("ZYX", np.int16)
    assert_same_place(back.grid, phantom.grid)
    np.testing.assert_array_equal(back.numpy(), phantom.array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_flat_phantom_comes_back(tmp_path: Path, flat_phantom: Image, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", flat_phantom)
    back = read(tmp_path / f"a{suffix}")
    assert back.axes == "YX"
    assert_same_place(back.grid, flat_phantom.grid)
    np.testing.assert_array_equal(back.array, flat_phantom.array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_simpleitk_finds_every_pixel_at_its_place(tmp_path: Path, phantom: Image, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", phantom)
    other = SimpleITK.ReadImage(str(tmp_path / f"a{suffix}"))
    for index in ((0, 0, 0), (4, 6, 10), (2, 5, 1)):
        world = other.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(phantom.grid.to_world(index), world, atol=2e-5)  # NIfTI's own 32 bits
        assert other[index[::-1]] == phantom.array[index]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_simpleitk_wrote(tmp_path: Path, phantom: Image, suffix: str) -> None:
    other = SimpleITK.GetImageFromArray(phantom.array)
    other.SetSpacing((0.5, 0.8, 1.2))
    other.SetOrigin((-17.25, 42.5, 101.75))
    other.SetDirection(phantom.grid.direction[:, ::-1].ravel().tolist())
    SimpleITK.WriteImage(other, str(tmp_path / f"a{suffix}"))
    back = read(tmp_path / f"a{suffix}")
    assert_same_place(back.grid, phantom.grid.replace(origin=(-17.25, 42.5, 101.75)))
    np.testing.assert_array_equal(back.array, phantom.array)


def test_a_header_that_others_moved_counts(tmp_path: Path, phantom: Image) -> None:
    write(tmp_path / "a.nii", phantom)
    other = SimpleITK.ReadImage(str(tmp_path / "a.nii"))
    other.SetOrigin((1, 2, 3))
    SimpleITK.WriteImage(other, str(tmp_path / "a.nii"))
    assert other.GetMetaData("descrip").startswith("deepbio")
    assert read(tmp_path / "a.nii").grid.origin == (1, 2, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("axes", ["CYX", "CZYX", "TZYX", "TCZYX"])
def test_channels_and_frames(
    tmp_path: Path, oblique, rng: np.random.Generator, axes: str, suffix: str
) -> None:
    sizes = {"T": 3, "C": 2, "Z": 5, "Y": 7, "X": 11}
    grid = oblique(3 if "Z" in axes else 2)
    pixels = rng.normal(size=[sizes[axis] for axis in axes]).astype(np.float32)
    image = Image(pixels, axes, grid, frame_interval=2.5 if "T" in axes else None)
    write(tmp_path / f"a{suffix}", image)
    back = read(tmp_path / f"a{suffix}")
    assert (back.axes, back.frame_interval) == (axes, image.frame_interval)
    assert_same_place(back.grid, grid)
    np.testing.assert_array_equal(back.array, pixels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_without_interval_and_flat_frames(tmp_path: Path, oblique, suffix: str) -> None:
    pixels = np.arange(3 * 7 * 11, dtype=np.int16).reshape(3, 7, 11)
    write(tmp_path / f"a{suffix}", Image(pixels, "TYX", oblique(2)))
    back = read(tmp_path / f"a{suffix}")
    assert (back.axes, back.frame_interval) == ("TZYX", None)
    np.testing.assert_array_equal(back.array[:, 0], pixels)
    np.testing.assert_allclose(back.grid.direction[:2, 1:], oblique(2).direction, atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colour(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    pixels = rng.integers(0, 256, (3, 5, 7, 11)).astype(np.uint8)
    write(tmp_path / f"a{suffix}", Image(pixels, "CZYX", channels=RGB))
    back = read(tmp_path / f"a{suffix}")
    assert back.is_rgb
    np.testing.assert_array_equal(back.array, pixels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels(tmp_path: Path, phantom_labels: LabelMap, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", phantom_labels)
    back = read_labels(tmp_path / f"a{suffix}")
    assert back.array.dtype == np.uint16
    assert_same_place(back.grid, phantom_labels.grid)
    np.testing.assert_array_equal(back.array, phantom_labels.array)
    write(tmp_path / f"b{suffix}", LabelMap(phantom_labels.numpy() * 10000, "ZYX"))
    assert read_labels(tmp_path / f"b{suffix}").array.dtype == np.uint32
    assert len(list(tmp_path.iterdir())) == (4 if suffix == ".mhd" else 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64", ">i2"],
)
def test_types(tmp_path: Path, rng: np.random.Generator, dtype: str, suffix: str) -> None:
    pixels = rng.integers(0, 2 if dtype == "bool" else 99, (5, 7, 11)).astype(dtype)
    write(tmp_path / f"a{suffix}", Image(pixels, "ZYX"))
    back = read(tmp_path / f"a{suffix}")
    assert back.dtype == {"bool": "uint8", "float16": "float32", ">i2": "int16"}.get(dtype, dtype)
    np.testing.assert_array_equal(back.array, pixels)


def test_micrometers_become_millimeters(tmp_path: Path, oblique) -> None:
    write(tmp_path / "a.nrrd", Image(np.zeros((5, 7, 11)), "ZYX", oblique(3, unit="micrometer")))
    grid = read(tmp_path / "a.nrrd").grid
    assert grid.unit == "millimeter"
    assert grid.spacing == pytest.approx((0.0012, 0.0008, 0.0005), rel=1e-9)
    assert grid.origin == pytest.approx((-0.0173, 0.0429, 0.1017), rel=1e-9)


def test_one_slice_keeps_its_place(tmp_path: Path, oblique) -> None:
    grid = oblique(3).replace(shape=(1, 7, 11))
    write(tmp_path / "a.nii", Image(np.zeros((1, 7, 11), np.int16), "ZYX", grid))
    assert_same_place(read(tmp_path / "a.nii").grid, grid)


def test_scaled_nifti(tmp_path: Path, phantom: Image) -> None:
    write(tmp_path / "a.nii", phantom)
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[112:120] = np.array([0.5, -3], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(content)
    back = read(tmp_path / "a.nii", lazy=True)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back.numpy(), phantom.array * 0.5 - 3)


@pytest.mark.parametrize(("code", "seconds"), [(8, 2.5), (16, 0.0025), (0, None)])
def test_units_of_time_of_nifti(tmp_path: Path, code: int, seconds: float | None) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 5, 7, 11), np.int16), isVector=False)
    image.SetSpacing((1, 1, 1, 2.5))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii"))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[123] = 2 | code  # xyzt_units
    (tmp_path / "a.nii").write_bytes(content)
    found = read(tmp_path / "a.nii").frame_interval
    assert found is None if seconds is None else found == pytest.approx(seconds)


def test_a_time_step_of_zero_is_none(tmp_path: Path) -> None:
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.zeros((3, 5, 7, 11), np.int16), isVector=False),
        str(tmp_path / "a.nii"),
    )
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[92:96] = bytes(4)  # pixdim[4]
    content[123] = 2 | 8  # xyzt_units: millimeters and seconds
    (tmp_path / "a.nii").write_bytes(content)
    assert read(tmp_path / "a.nii").frame_interval is None


# -- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("part", [0.001, 0.02, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("labels", [False, True])
def test_a_file_that_is_cut_off(
    tmp_path: Path, rng: np.random.Generator, suffix: str, part: float, labels: bool, lazy: bool
) -> None:
    pixels = rng.integers(1, 30000, (9, 40, 50)).astype(np.uint16)
    path = tmp_path / f"a{suffix}"
    write(path, LabelMap(pixels, "ZYX") if labels else Image(pixels, "ZYX"))
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(len(content) * part))])
    with pytest.raises(ImageError, match=rf"a\{suffix}") as caught:
        read(path, lazy=lazy).numpy()
    assert caught.value.hint


def test_an_mhd_without_its_pixels(tmp_path: Path, phantom: Image) -> None:
    write(tmp_path / "a.mhd", phantom)
    (tmp_path / "a.raw").write_bytes((tmp_path / "a.raw").read_bytes()[:100])
    with pytest.raises(ImageError, match=r"a\.mhd.*damaged or cut off"):
        read(tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ImageError, match=r"a\.mhd"):
        read(tmp_path / "a.mhd")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"some text\n" * 99, b"\x89PNG\r\n\x1a\n" + bytes(700), bytes(range(256)) * 3]
)
def test_what_is_no_medical_image(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\{suffix}' is not an? .*: it begins|not a gzip file: it begins"):
        read(tmp_path / f"a{suffix}")


def test_complex_and_five_dimensions(tmp_path: Path) -> None:
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.zeros((5, 7, 11), np.complex64)), str(tmp_path / "a.nii")
    )
    with pytest.raises(ImageError, match="complex"):
        read(tmp_path / "a.nii")
    five = SimpleITK.GetImageFromArray(np.zeros((2, 3, 5, 7, 11), np.int16), isVector=False)
    SimpleITK.WriteImage(five, str(tmp_path / "b.nrrd"))
    with pytest.raises(ImageError, match="5 dimensions"):
        read(tmp_path / "b.nrrd")


def test_sheared_axes(tmp_path: Path, oblique) -> None:
    grid = oblique(3)
    sheared = grid.replace(direction=grid.direction + [[0, 0, 0.2], [0, 0, 0], [0, 0, 0]])
    image = Image(np.zeros((5, 7, 11), np.int16), "ZYX", sheared)
    with pytest.raises(OutputError, match=r"a\.nii.*not perpendicular"):
        write(tmp_path / "a.nii", image)
    write(tmp_path / "a.nii", Image(image.array, "ZYX", grid))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[252:254] = (0).to_bytes(2, "little")  # qform_code: only the sform is left
    content[280:284] = np.float32(2).tobytes()  # and that is sheared
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ImageError, match="not perpendicular"):
        read(tmp_path / "a.nii")


def test_info_does_not_load(tmp_path: Path, phantom: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.nii.gz", phantom)
    monkeypatch.setattr(SimpleITK, "ReadImage", None)
    facts = info(tmp_path / "a.nii.gz")
    assert (facts["format"], facts["shape"], facts["unit"]) == ("NIfTI", [5, 7, 11], "millimeter")
    assert facts["origin"] == pytest.approx([-17.3, 42.9, 101.7], abs=1e-12)
