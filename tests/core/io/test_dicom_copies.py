"""Files of a series that are there twice: one counts, and that is told; what only looks so is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from deepbio.errors import ImageError
from deepbio.image import Image
from deepbio.io import read
from deepbio.io.dicom_copies import without_copies
from deepbio.io.dicom_frames import read_frames
from tests.conftest import make_grid
from tests.core.io.dicom_series import ROOT, base, put_pixels, write_enhanced, write_series

GRID = make_grid()
PIXELS = np.arange(5 * 7 * 11, dtype=np.int16).reshape(5, 7, 11)
NOTE = "in position, header and pixels, and left out: "


def changed(file: Path, copy: Path, **values: Any) -> Path:
    dataset = pydicom.dcmread(file)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(copy)
    return copy


def same(found: Image, wanted: Image) -> bool:
    return found.grid == wanted.grid and np.array_equal(found.numpy(), wanted.numpy())


def test_an_exact_copy_is_left_out_and_told(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan", PIXELS, GRID)
    wanted = read(folder)
    shutil.copy(folder / "IM0010", folder / "IM0010 (copy)")
    found = read(folder)
    assert same(found, wanted)
    note = f"1 file is a copy of others in the series, the same {NOTE}'IM0010 (copy)' of 'IM0010'."
    assert found.meta["notes"] == (note,)


def test_a_series_sent_twice_with_new_uids_and_another_compression(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan", PIXELS, GRID)
    wanted = read(folder)
    for number, file in enumerate(sorted(folder.iterdir())):
        again = pydicom.dcmread(
            changed(file, folder / f"again_{file.name}", SOPInstanceUID=f"{ROOT}.8.{number}")
        )
        again.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        again.save_as(folder / f"again_{file.name}")
    found = read(folder)
    assert same(found, wanted)
    assert found.meta["notes"][0].startswith("5 files are copies of others in the series")


def test_many_copies_are_counted(tmp_path: Path) -> None:
    folder = write_series(tmp_path, np.zeros((9, 4, 4), np.int16), GRID.replace(shape=(9, 4, 4)))
    for file in list(folder.iterdir()):
        shutil.copy(file, folder / f"{file.name}_2")
    assert read(folder).meta["notes"][0].endswith("'IM0031_2' of 'IM0031' and 4 more.")


def test_a_copy_in_a_time_series(tmp_path: Path) -> None:
    for t in range(3):

        def timed(dataset: Dataset, z: int, t: int = t) -> None:
            dataset.TriggerTime = str(40 * t)

        write_series(tmp_path, PIXELS + t, GRID, change=timed, start=200 * t)
    wanted = read(tmp_path)
    shutil.copy(tmp_path / "IM0203", tmp_path / "twin")
    found = read(tmp_path)
    assert (found.axes, same(found, wanted)) == ("TZYX", True)


def test_a_copy_of_a_multi_frame_file(tmp_path: Path) -> None:
    wanted = read(write_enhanced(tmp_path / "a.dcm", PIXELS, GRID))
    shutil.copy(tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert same(read(tmp_path), wanted)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"PixelData": (PIXELS[1] + 1).tobytes()}, "nothing in their headers tells them apart"),
        ({"RescaleSlope": "2"}, "nothing in their headers tells them apart"),
        ({"EchoTime": "20"}, "they differ in echo time"),
    ],
)
def test_what_is_no_copy_is_refused_by_name(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    folder = write_series(tmp_path / "scan", PIXELS, GRID)
    changed(folder / "IM0010", folder / "other", **values)
    with pytest.raises(ImageError, match=r"\) mm: IM0010, other\), and no time") as caught:
        read(folder)
    assert reason in caught.value.message


def test_pixels_alike_at_other_times_or_places_are_kept(tmp_path: Path) -> None:
    for t in range(2):

        def timed(dataset: Dataset, z: int, t: int = t) -> None:
            dataset.TriggerTime = str(40 * t)

        write_series(tmp_path, np.zeros_like(PIXELS), GRID, change=timed, start=200 * t)
    assert read(tmp_path).shape == (2, *PIXELS.shape)


def test_pictures_without_a_place_are_not_compared(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        dataset = base(f"{ROOT}.5", modality="US")
        put_pixels(dataset, PIXELS[0])
        dataset.save_as(tmp_path / name, enforce_file_format=True)
    frames = read_frames(sorted(tmp_path.iterdir()))
    assert without_copies(frames, tmp_path) == (frames, ())
