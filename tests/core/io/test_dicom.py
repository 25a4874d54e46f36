"""DICOM series: the same pixels at the same place, whatever the order and kind of the files."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from deepbio.errors import ImageError, OptionError, OutputError
from deepbio.image import RGB, Grid, Image
from deepbio.io import info, is_dicom, read, write
from tests.conftest import make_grid
from tests.core.io.dicom_series import put_pixels, write_enhanced, write_series

DATA = Path(__file__).parents[2] / "data" / "dicom"
SHIPPED = Path(get_testdata_file("CT_small.dcm", download=False)).parent


def upright(grid: Grid) -> bool:
    """Whether the slices of a grid run along the normal of their plane (x times y), as we read them."""
    d = grid.direction
    return float(np.cross(d[:, 2], d[:, 1]) @ d[:, 0]) > 0


def expected(pixels: np.ndarray, grid: Grid) -> tuple[np.ndarray, Grid]:
    """What a reader that stacks along the normal finds: flipped in depth where the grid is left-handed."""
    if upright(grid):
        return pixels, grid
    direction = grid.direction.copy()
    direction[:, 0] *= -1
    last = grid.to_world((grid.shape[0] - 1, 0, 0))
    return pixels[::-1], grid.replace(direction=direction, origin=tuple(last))


def assert_same_place(found: Grid, wanted: Grid) -> None:
    assert found == wanted
    np.testing.assert_allclose(found.spacing, wanted.spacing, rtol=1e-6, atol=0)
    np.testing.assert_allclose(found.origin, wanted.origin, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.direction, wanted.direction, rtol=0, atol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_the_phantom_comes_back(tmp_path: Path, phantom: Image, lazy: bool) -> None:
    folder = write_series(tmp_path / "scan", phantom.numpy(), phantom.grid)
    back = read(folder, lazy=lazy)
    pixels, grid = expected(phantom.numpy(), phantom.grid)
    assert (back.axes, back.dtype, back.grid.unit) == ("ZYX", np.int16, "millimeter")
    assert_same_place(back.grid, grid)
    np.testing.assert_array_equal(back.numpy(), pixels)


def test_simpleitk_finds_every_pixel_at_its_place(tmp_path: Path, phantom: Image) -> None:
    folder = write_series(tmp_path, phantom.numpy(), phantom.grid)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    other = SimpleITK.ReadImage(names)
    back = read(folder)
    for index in ((0, 0, 0), (4, 6, 10), (2, 5, 1)):
        world = other.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(back.grid.to_world(index), world, rtol=0, atol=1e-6)
        assert other[index[::-1]] == back.numpy()[index]


@pytest.mark.parametrize("times", [1, 3])
def test_multi_frame(tmp_path: Path, phantom: Image, times: int) -> None:
    pixels = np.concatenate([phantom.numpy() // 8 + t for t in range(times)])
    back = read(write_enhanced(tmp_path / "scan", pixels, phantom.grid, times=times))
    slopes = np.arange(1, 6)[:, None, None]
    scaled = pixels.reshape(times, 5, 7, 11).astype(np.int32) * slopes - 5
    flipped, grid = expected(phantom.numpy(), phantom.grid)
    if flipped is not phantom.array and not upright(phantom.grid):
        scaled = scaled[:, ::-1]
    assert_same_place(back.grid, grid)
    assert back.axes == ("ZYX" if times == 1 else "TZYX")
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back.numpy(), scaled[0] if times == 1 else scaled)
    assert back.frame_interval == (None if times == 1 else pytest.approx(0.04))


@pytest.mark.parametrize("tag", ["TriggerTime", "TemporalPositionIdentifier", "FrameReferenceTime"])
def test_times_of_a_classic_series(tmp_path: Path, phantom: Image, tag: str) -> None:
    for t in (2, 0, 1):

        def timed(dataset: Dataset, z: int, t: int = t) -> None:
            setattr(dataset, tag, str(10 + 46 * t + z % 2) if tag == "TriggerTime" else 50 * t + 1)

        write_series(tmp_path, phantom.numpy() + t, phantom.grid, change=timed, start=200 * t)
    back = read(tmp_path)
    assert back.axes == "TZYX"
    for t in range(3):
        np.testing.assert_array_equal(back.numpy()[t], expected(phantom.numpy(), phantom.grid)[0] + t)
    interval = {"TriggerTime": 0.046, "FrameReferenceTime": 0.05, "TemporalPositionIdentifier": None}[tag]
    assert back.frame_interval == (None if interval is None else pytest.approx(interval))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [
        ("1", "-1024", np.int16),
        ("2", "0", np.int16),
        ("16", "0", np.uint16),
        ("100", "-5", np.int32),
        ("0.5", "0", np.float32),
        ("1", "0.25", np.float32),
    ],
)
def test_values_are_rescaled(tmp_path: Path, slope: str, intercept: str, dtype: type) -> None:
    stored = np.arange(5 * 7 * 11, dtype=np.uint16).reshape(5, 7, 11)

    def scaled(dataset: Dataset, z: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept

    back = read(write_series(tmp_path, stored, make_grid(), change=scaled))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back.numpy(), stored * float(slope) + float(intercept))
    assert (back.meta["rescale_slope"], back.meta["rescale_intercept"]) == (float(slope), float(intercept))


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    stored = np.full((5, 7, 11), 3, np.uint16)

    def scaled(dataset: Dataset, z: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = str(0.5 * (z + 1)), "0"

    back = read(write_series(tmp_path, stored, make_grid(), change=scaled))
    np.testing.assert_array_equal(back.numpy()[:, 0, 0], [1.5, 3, 4.5, 6, 7.5])
    assert back.meta["rescale_slope"] == "per slice"


def test_one_slice_keeps_its_place(tmp_path: Path, phantom: Image) -> None:
    folder = write_series(tmp_path, phantom.numpy()[:1], phantom.grid.replace(shape=(1, 7, 11)))
    back = read(next(folder.iterdir()))
    assert back.shape == (1, 7, 11)
    assert back.grid.spacing == (99, 0.8, 0.5)  # the thickness is all it says
    np.testing.assert_allclose(back.grid.origin, phantom.grid.origin, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "axes", "shape", "spacing", "interval"),
    [
        ("examples_ybr_color.dcm", "TCYX", (30, 3, 240, 320), (0.5104970559477806,) * 2, 0.033333),
        ("examples_palette.dcm", "CYX", (3, 350, 800), (0.26228787661969977,) * 2, None),
        ("SC_rgb_small_odd.dcm", "CYX", (3, 3, 3), (33.333333,) * 2, None),
        ("ExplVR_BigEnd.dcm", "CYX", (3, 60, 80), (1.0, 1.0), None),
    ],
)
def test_pictures_in_colour(
    name: str, axes: str, shape: tuple[int, ...], spacing: tuple[float, ...], interval: float | None
) -> None:
    image = read(SHIPPED / name)
    assert (image.axes, image.shape, image.channels) == (axes, shape, RGB)
    assert image.grid.spacing == pytest.approx(spacing)
    assert image.frame_interval == interval
    other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(SHIPPED / name)))
    if "palette" not in name:  # ITK gives the indices
        mine = np.moveaxis(image.numpy(), -3, -1).reshape(other.shape).astype(int)
        assert np.abs(mine - other).max() <= 1  # JPEG decoders round differently


def test_no_spacing_is_told() -> None:
    image = read(SHIPPED / "ExplVR_BigEnd.dcm")
    assert image.grid.unit == "pixel"
    assert image.meta["notes"] == ("The file does not say how large its pixels are.",)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "image_dfl.dcm", "MR_small_RLE.dcm"]
)
def test_shipped_files_read_as_simpleitk_reads_them(name: str) -> None:
    image = read(SHIPPED / name)
    other = SimpleITK.ReadImage(str(SHIPPED / name))
    np.testing.assert_array_equal(image.numpy().squeeze(), SimpleITK.GetArrayFromImage(other).squeeze())
    if image.axes == "ZYX":
        np.testing.assert_allclose(image.grid.origin, other.GetOrigin(), atol=1e-6)
        np.testing.assert_allclose(image.grid.spacing[1:], other.GetSpacing()[1::-1], rtol=1e-6)


def test_low_is_bright_is_told(tmp_path: Path, phantom: Image) -> None:
    def inverted(dataset: Dataset, z: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    folder = write_series(tmp_path, phantom.numpy(), phantom.grid, change=inverted)
    assert "MONOCHROME1" in read(folder).meta["notes"][0]


@pytest.mark.parametrize("name", ["IM0001", "a.dcm", "A.DCM", "1.2.840.10008"])
def test_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((SHIPPED / "MR_small.dcm").read_bytes())
    assert is_dicom(tmp_path / name)
    assert read(tmp_path / name).shape == (1, 64, 64)


def test_info_does_not_decode(tmp_path: Path, phantom: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_series(tmp_path, phantom.numpy(), phantom.grid)
    monkeypatch.setattr("deepbio.io.dicom.decoded", None)
    facts = info(folder)
    assert (facts["format"], facts["modality"], facts["shape"]) == ("DICOM", "CT", [5, 7, 11])


def test_images_are_not_written_as_dicom(tmp_path: Path, phantom: Image) -> None:
    with pytest.raises(OutputError, match="without its source"):
        write(tmp_path / "a.dcm", phantom)
    assert not list(tmp_path.iterdir())


def test_a_series_of_what_is_not_dicom(tmp_path: Path, phantom: Image) -> None:
    write(tmp_path / "a.nrrd", phantom)
    with pytest.raises(OptionError, match="is not DICOM"):
        read(tmp_path / "a.nrrd", series="#1")


def test_sizes_that_the_pixels_do_not_have(tmp_path: Path, phantom: Image) -> None:
    def short(dataset: Dataset, z: int) -> None:
        put_pixels(dataset, phantom.numpy()[z])
        dataset.Rows = 9

    folder = write_series(tmp_path, phantom.numpy(), phantom.grid, change=short)
    with pytest.raises(ImageError, match="less than expected"):
        read(folder)


def test_several_frames_of_reference_are_told(tmp_path: Path, phantom: Image) -> None:
    def other(dataset: Dataset, z: int) -> None:
        dataset.FrameOfReferenceUID = f"1.2.3.{z}"

    image = read(write_series(tmp_path, phantom.numpy(), phantom.grid, change=other))
    assert "name 5 frames of reference" in image.meta["notes"][0]


def test_a_real_ct() -> None:
    folder = DATA / "ct"
    image = read(folder)
    names = sorted(folder.iterdir(), key=lambda file: -int(file.stem))  # the files go from head to foot
    other = SimpleITK.ReadImage([str(name) for name in names])
    np.testing.assert_array_equal(image.numpy(), SimpleITK.GetArrayFromImage(other))
    assert (image.dtype, image.grid.spacing) == (np.int16, (2.0, 0.9765625, 0.9765625))
    assert image.grid.origin == (-249.51171875, -437.51171875, -770.5)
    assert image.meta["rescale_intercept"] == -1024
    assert image.meta["notes"] == ("The files have no series UID.",)


def test_a_real_cine() -> None:
    image = read(DATA / "cine")
    assert (image.axes, image.shape, image.dtype) == ("TZYX", (2, 1, 256, 256), np.int16)
    assert image.grid.spacing == (8.0, 1.2891, 1.2891)
    assert image.frame_interval == pytest.approx(0.046)
    assert image.take("T", 1).numpy().mean() != image.take("T", 0).numpy().mean()


def test_large_series_are_read_in_little_time(tmp_path: Path) -> None:
    pixels = np.zeros((300, 16, 16), np.int16)
    folder = write_series(tmp_path, pixels, make_grid().replace(shape=pixels.shape))
    start = time.process_time()
    assert read(folder, lazy=True).shape == (300, 16, 16)
    assert time.process_time() - start < 6  # 1 s where nothing else runs
