"""Stored values that do not lie in the lowest bits of their cells (High Bit is not Bits Stored - 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless

from deepbio.errors import ImageError
from deepbio.io import read
from tests.conftest import make_grid
from tests.core.io.dicom_series import write_enhanced, write_series

GRID = make_grid()
VALUES = np.random.default_rng(4).integers(0, 4096, (5, 7, 11))


def bits(high: int, signed: bool = False, stored: int = 12) -> Any:
    def change(dataset: Dataset, z: int) -> None:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = stored, high, int(signed)

    return change


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 12, 15])
def test_the_bits_that_the_header_names(tmp_path: Path, high: int, signed: bool) -> None:
    values = VALUES - 2048 * signed
    cells = ((values & 0xFFF) << (high - 11)).astype(np.uint16)
    if high < 15:
        cells |= 0x8000  # above the value: no part of it
    write_series(tmp_path / "a", cells, GRID, change=bits(high, signed))
    write_series(tmp_path / "wanted", values.astype(np.int16), GRID)
    image = read(tmp_path / "a")
    np.testing.assert_array_equal(image.numpy(), read(tmp_path / "wanted").numpy())
    assert image.dtype == np.int16
    told = (
        ()
        if high == 11
        else (
            f"Values are in the bits {high - 11} to {high} (High Bit): they are read as the standard says.",
        )
    )
    assert image.meta["notes"] == told


def test_run_length_and_several_frames(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "wanted.dcm", VALUES.astype(np.uint16), GRID)
    write_enhanced(tmp_path / "a.dcm", (VALUES << 4).astype(np.uint16), GRID)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    bits(15)(dataset, 0)
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").numpy(), read(tmp_path / "wanted.dcm").numpy())


def test_bits_below_that_are_not_empty(tmp_path: Path) -> None:
    folder = write_series(tmp_path, VALUES.astype(np.uint16), GRID, change=bits(15))
    image = read(folder, lazy=True)
    with pytest.raises(ImageError, match=r"contradicts itself: by its header \(High Bit\) the lowest 4 bits"):
        image.numpy()


def test_compressed_values_in_other_bits_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path, (VALUES << 4).astype(np.uint16), GRID, change=bits(15))
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(dataset.pixel_array)])
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.save_as(file)
    with pytest.raises(ImageError, match=r"values end at bit 15 .*; expected bit 11") as caught:
        read(folder, lazy=True)
    assert caught.value.hint


@pytest.mark.parametrize("high", [16, 5])
def test_an_impossible_high_bit_is_told(tmp_path: Path, high: int) -> None:
    image = read(write_series(tmp_path / "a", VALUES.astype(np.uint16), GRID, change=bits(high)))
    np.testing.assert_array_equal(
        image.numpy(), read(write_series(tmp_path / "b", VALUES.astype(np.int16), GRID)).numpy()
    )
    assert image.meta["notes"][0].startswith(
        f"The header contradicts itself (12 bits of 16 up to bit {high})"
    )
