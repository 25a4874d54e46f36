"""Series that are no regular stack: each a clear error that says which slices, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from deepbio.errors import ImageError
from deepbio.image import Grid, Image
from deepbio.io import read
from tests.conftest import make_grid
from tests.core.io.dicom_series import ROOT, base, cosines, decimal, put_pixels, write_series

PIXELS = np.arange(5 * 7 * 11, dtype=np.int16).reshape(5, 7, 11)
GRID = make_grid()


def moved(dataset: Dataset, z: int, offset: Any) -> None:
    place = GRID.to_world((z, 0, 0)) + offset
    dataset.ImagePositionPatient = decimal(place)


def without_third(dataset: Dataset, z: int) -> bool:
    return z != 2


def doubled(dataset: Dataset, z: int) -> None:
    moved(dataset, min(z, 3), 0)


def echoes(dataset: Dataset, z: int) -> None:
    dataset.EchoTime = str(5 * z)
    moved(dataset, min(z, 3), 0)


def uneven(dataset: Dataset, z: int) -> None:
    moved(dataset, z, 0.3 * GRID.direction[:, 0] * (z == 2))


def tilted(dataset: Dataset, z: int) -> None:
    moved(dataset, z, 0.2 * z * GRID.direction[:, 1])


def turned(dataset: Dataset, z: int) -> None:
    if z == 4:
        dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]


def resized(dataset: Dataset, z: int) -> None:
    if z == 4:
        put_pixels(dataset, PIXELS[0, :5, :9])


def respaced(dataset: Dataset, z: int) -> None:
    if z == 4:
        dataset.PixelSpacing = ["0.8", "0.6"]


def coloured(dataset: Dataset, z: int) -> None:
    if z == 0:
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PlanarConfiguration = "RGB", 3, 0


def nowhere(dataset: Dataset, z: int) -> None:
    del dataset.ImagePositionPatient


def partly_nowhere(dataset: Dataset, z: int) -> None:
    if z == 1:
        del dataset.ImageOrientationPatient


def crooked(dataset: Dataset, z: int) -> None:
    dataset.ImageOrientationPatient = ["1", "0", "0", "0.5", "0.5", "0"]


def short_orientation(dataset: Dataset, z: int) -> None:
    dataset.ImageOrientationPatient = ["1", "0", "0"]


BAD = {
    "missing slice": (
        without_third,
        "Slices are missing (the others are 1.2 mm apart): 1 between (",
        "Fetch",
    ),
    "doubled slice": (doubled, "At 1 of 4 positions there is more than one image (up to 2", "one image per"),
    "several echoes": (echoes, "they differ in echo time", "one image per position"),
    "uneven": (uneven, "not evenly spaced: their distances go from 0.9 to 1.5 mm", "Resample"),
    "gantry tilt": (
        tilted,
        "sheared by 9.46 degrees (gantry tilt): its last slice lies 0.80 mm",
        "3D Slicer",
    ),
    "scout": (turned, "mixes images of 2 orientations: 4 of slices with the normal", "scouts"),
    "mixed sizes": (resized, "mixes images of 2 sizes: 4 of 7 x 11; 1 of 5 x 9", "scouts"),
    "mixed spacings": (respaced, "mixes images of 2 pixel spacings: 4 of 0.8 x 0.5 mm; 1 of", "Split"),
    "grey and colour": (coloured, "mixes images of 2 kinds of pixels", "does not belong"),
    "no positions": (nowhere, "5 images that do not say where they are", "Name one of the files"),
    "some positions": (partly_nowhere, "1 of no orientation", "scouts"),
    "no orientation": (crooked, "expected two perpendicular unit vectors", "Export"),
    "half an orientation": (short_orientation, "not as the DICOM standard says (ValueError)", "Export"),
}


@pytest.mark.parametrize(("change", "message", "hint"), BAD.values(), ids=BAD)
def test_one_clear_error(
    tmp_path: Path, change: Callable[[Dataset, int], Any], message: str, hint: str
) -> None:
    folder = write_series(tmp_path / "scan", PIXELS, GRID, change=change)
    with pytest.raises(ImageError) as caught:
        read(folder, lazy=True)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert str(folder) in caught.value.message


def test_many_gaps_are_counted(tmp_path: Path) -> None:
    pixels = np.zeros((31, 7, 11), np.int16)
    grid = GRID.replace(shape=pixels.shape)
    folder = write_series(
        tmp_path, pixels, grid, change=lambda d, z: z % 4 != 1 if z < 28 else z != 29
    )  # one of four is missing
    with pytest.raises(ImageError, match="and 3 more gaps"):
        read(folder)


def test_incomplete_times(tmp_path: Path) -> None:
    for t in range(3):

        def timed(dataset: Dataset, z: int, t: int = t) -> bool:
            dataset.TriggerTime = str(40 * t)
            return t == 0 or z == 2

        write_series(tmp_path, PIXELS, GRID, change=timed, start=200 * t)
    with pytest.raises(ImageError, match="4 with 1 times, 1 with 3 times"):
        read(tmp_path)


@pytest.mark.parametrize("digits", [5, 6])
def test_rounded_positions_are_no_tilt(tmp_path: Path, phantom: Image, digits: int) -> None:
    def rounded(dataset: Dataset, z: int) -> None:
        place = phantom.grid.to_world((z, 0, 0))
        dataset.ImagePositionPatient = [f"{c:.{digits}g}" for c in place]
        dataset.ImageOrientationPatient = [f"{float(c):.{digits}g}" for c in cosines(phantom.grid)]

    back = read(write_series(tmp_path, phantom.numpy(), phantom.grid, change=rounded))
    d = back.grid.direction
    np.testing.assert_allclose(d.T @ d, np.eye(3), atol=1e-12)  # so that NIfTI can hold it
    np.testing.assert_allclose(back.grid.spacing, phantom.grid.spacing, rtol=50 * 10.0**-digits)


def test_positions_count_not_the_thickness(tmp_path: Path) -> None:
    def overlapping(dataset: Dataset, z: int) -> None:
        dataset.SliceThickness, dataset.SpacingBetweenSlices = "5", "0.1"

    back = read(write_series(tmp_path, PIXELS, GRID, change=overlapping))
    assert back.grid.spacing[0] == pytest.approx(1.2, rel=1e-9)


def test_one_slice_without_thickness_is_told(tmp_path: Path) -> None:
    def bare(dataset: Dataset, z: int) -> None:
        del dataset.SliceThickness

    back = read(write_series(tmp_path, PIXELS[:1], GRID, change=bare))
    assert back.grid.spacing == (1.0, 0.8, 0.5)
    assert back.meta["notes"] == ("The file does not say how thick its single slice is: 1 mm is assumed.",)


def test_no_pixel_spacing_is_told(tmp_path: Path) -> None:
    def bare(dataset: Dataset, z: int) -> None:
        del dataset.PixelSpacing

    back = read(write_series(tmp_path, PIXELS, GRID, change=bare))
    assert back.grid.spacing == pytest.approx((1.2, 1.0, 1.0))
    assert "1 mm is assumed" in back.meta["notes"][0]


def test_frames_of_nuclear_medicine_are_refused(tmp_path: Path) -> None:
    dataset = base(f"{ROOT}.5", modality="NM")
    put_pixels(dataset, PIXELS)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match="nuclear medicine recording of several frames"):
        read(tmp_path / "a.dcm")


def test_a_film_has_times(tmp_path: Path) -> None:
    dataset = base(f"{ROOT}.5", modality="XA")
    put_pixels(dataset, PIXELS)
    dataset.FrameTimeVector = ["0", "40", "60", "40", "60"]
    dataset.ImagerPixelSpacing = ["0.4", "0.3"]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    image = read(tmp_path / "a.dcm")
    assert (image.axes, image.frame_interval, image.grid.spacing) == ("TYX", pytest.approx(0.05), (0.4, 0.3))
    np.testing.assert_array_equal(image.numpy(), PIXELS)


def test_a_grid_of_axial_slices(tmp_path: Path) -> None:
    grid = Grid((5, 7, 11), (3.0, 0.8, 0.5), (-10.0, -20.0, 30.0), unit="millimeter")
    back = read(write_series(tmp_path, PIXELS, grid))
    assert back.grid == grid
    assert back.grid.direction.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
