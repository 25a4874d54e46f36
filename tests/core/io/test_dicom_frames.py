"""Dose grids: the frames of one file, where their offsets put them, in gray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file
from pydicom.uid import RTDoseStorage

from deepbio.errors import ImageError
from deepbio.image import Grid, Image
from deepbio.io import info, list_series, read
from tests.core.io.dicom_series import ROOT, SECRETS, base, cosines, decimal, put_pixels, write_series

SHIPPED = Path(get_testdata_file("CT_small.dcm", download=False)).parent
DOSE = np.random.default_rng(5).integers(0, 2**32, (5, 7, 11), np.uint64).astype(np.uint32)
SCALING = 2.5e-8


def write_dose(file: Path, grid: Grid, offsets: Any, **changes: Any) -> Path:
    """Write `DOSE` with the first frame at the grid's origin."""
    dataset = base(f"{ROOT}.5", RTDoseStorage, "RTDOSE", "5")
    dataset.ImagePositionPatient = decimal(grid.origin)
    dataset.ImageOrientationPatient = cosines(grid)
    dataset.PixelSpacing, dataset.SliceThickness = decimal(grid.spacing[1:]), ""
    dataset.DoseUnits, dataset.DoseType, dataset.DoseGridScaling = "GY", "PHYSICAL", str(SCALING)
    dataset.GridFrameOffsetVector = decimal(offsets)
    put_pixels(dataset, DOSE)
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.save_as(file, enforce_file_format=True)
    return file


def normal_of(grid: Grid) -> np.ndarray:
    return np.cross(grid.direction[:, 2], grid.direction[:, 1])


@pytest.mark.parametrize("step", [1.7, -1.7])
def test_offsets_count_along_the_normal(tmp_path: Path, phantom: Image, step: float) -> None:
    grid = phantom.grid
    image = read(write_dose(tmp_path / "dose.dcm", grid, step * np.arange(5)))
    assert (image.axes, image.shape, image.dtype) == ("ZYX", (5, 7, 11), np.float32)
    upward = DOSE if step > 0 else DOSE[::-1]
    np.testing.assert_allclose(image.numpy(), upward * SCALING, rtol=1e-6)
    assert image.grid.spacing == pytest.approx((1.7, *grid.spacing[1:]), abs=1e-9)
    for k in (0, 2, 4):  # each frame of the file, at its own place
        index = (k if step > 0 else 4 - k, 6, 10)
        wanted = (
            np.asarray(grid.origin)
            + k * step * normal_of(grid)
            + 6 * grid.spacing[1] * grid.direction[:, 1]
            + 10 * grid.spacing[2] * grid.direction[:, 2]
        )
        np.testing.assert_allclose(image.grid.to_world(index), wanted, rtol=0, atol=1e-6)
        assert image.numpy()[index] == pytest.approx(DOSE[k, 6, 10] * SCALING, rel=1e-6)
    assert (image.meta["value_unit"], image.meta["modality"]) == ("GY", "RTDOSE")
    assert info(tmp_path / "dose.dcm")["value unit"] == "GY"
    assert not [secret for secret in SECRETS if secret in repr(image.meta)]


@pytest.mark.parametrize("up", [1, -1])
def test_offsets_that_are_the_z_of_an_axial_grid(tmp_path: Path, up: int) -> None:
    direction = np.array([[0, 0, 1], [0, up, 0], [up, 0, 0]], float)
    grid = Grid((5, 7, 11), (1.7, 0.8, 0.5), (-12.5, 30.25, -77.125), direction, "millimeter")
    image = read(write_dose(tmp_path / "dose.dcm", grid, -77.125 + 1.7 * np.arange(5)))
    at = 0 if up == 1 else 4  # along a normal that points down, the first frame is the last slice
    np.testing.assert_allclose(image.grid.to_world((at, 0, 0)), grid.origin, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        image.grid.to_world((4 - at, 0, 0)), (-12.5, 30.25, -77.125 + 6.8), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(image.numpy()[at], DOSE[0] * SCALING, rtol=1e-6)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 1.7, 3.4, 5.1], "has 5 frames and 4 offsets of them"),
        ([3, 4.7, 6.4, 8.1, 9.8], "begin with 3; expected 0, or in an axial grid the z of its position"),
        ([0, 1.7, 3.4, 6.8, 8.5], "Slices are missing"),
    ],
)
def test_offsets_that_make_no_grid(tmp_path: Path, phantom: Image, offsets: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(write_dose(tmp_path / "dose.dcm", phantom.grid, offsets))


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_rle.dcm", "rtdose_expb.dcm"])
def test_shipped_doses(name: str) -> None:
    image = read(SHIPPED / name)
    dataset = pydicom.dcmread(SHIPPED / name)
    assert (image.shape, image.grid.spacing) == ((15, 10, 10), (5.0, 10.0, 10.0))
    np.testing.assert_allclose(image.grid.origin, (189.43125, 199.43125, -761.87), rtol=0, atol=1e-6)
    np.testing.assert_allclose(image.grid.to_world((14, 0, 0))[2], -691.87, rtol=0, atol=1e-6)
    np.testing.assert_allclose(image.numpy(), dataset.pixel_array * 1e-6, rtol=1e-6)
    assert image.meta["value_unit"] == "RELATIVE"
    other = SimpleITK.ReadImage(str(SHIPPED / name))
    np.testing.assert_allclose(image.grid.origin, other.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(image.grid.spacing[::-1], other.GetSpacing(), atol=1e-6)


def test_a_single_frame_is_as_thick_as_its_file_steps() -> None:
    image = read(SHIPPED / "rtdose_1frame.dcm")
    assert (image.shape, image.grid.spacing) == ((1, 10, 10), (5.0, 10.0, 10.0))
    np.testing.assert_allclose(image.grid.origin, (189.43125, 199.43125, -761.87), rtol=0, atol=1e-6)


def test_beside_a_scan_it_must_be_named(tmp_path: Path, phantom: Image) -> None:
    grid = phantom.grid
    write_dose(tmp_path / "dose", grid, 1.7 * np.arange(5))
    assert read(tmp_path).meta["modality"] == "RTDOSE"  # alone
    write_series(tmp_path, phantom.numpy(), grid)
    assert [one.modality for one in list_series(tmp_path)] == ["CT", "RTDOSE"]
    assert read(tmp_path).meta["modality"] == "CT"
    assert read(tmp_path, series="#2").shape == (5, 7, 11)


def test_a_dose_without_pixels(tmp_path: Path) -> None:
    file = tmp_path / "histogram.dcm"
    base(f"{ROOT}.9", RTDoseStorage, "RTDOSE").save_as(file, enforce_file_format=True)
    with pytest.raises(ImageError, match=r"is no image: it is 'RT Dose' \(modality RTDOSE\)"):
        read(file)
