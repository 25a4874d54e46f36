"""Values that a table (Modality LUT) gives: as pydicom applies it, whatever way the table is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut

from deepbio.errors import ImageError
from deepbio.image import Image
from deepbio.io import info, read
from tests.conftest import make_grid
from tests.core.io.dicom_series import write_series


def with_table(first: int, values: Any, *, bits: int = 16, vr: str = "US", kind: str = "HU") -> Any:
    """What puts a table into a data set; bytes are stored as OW."""

    def change(dataset: Dataset, z: int) -> None:
        table = Dataset()
        signed = "SS" if dataset.PixelRepresentation else "US"
        count = len(values) if vr == "US" else len(values) // 2
        table.add(DataElement("LUTDescriptor", signed, [count, first, bits]))
        table.add(DataElement("LUTData", vr, values))
        table.ModalityLUTType = kind
        dataset.ModalityLUTSequence = [table]
        dataset.RescaleSlope, dataset.RescaleIntercept = "7", "3"  # the table counts

    return change


STORED = np.random.default_rng(3).integers(-300, 300, (5, 7, 11)).astype(np.int16)
TABLE = (np.arange(400) ** 2 % 60001).astype(np.uint16)


@pytest.mark.parametrize("first", [-250, 0, 17])
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_as_pydicom_applies_it(tmp_path: Path, first: int, vr: str) -> None:
    values = TABLE.tolist() if vr == "US" else TABLE.tobytes()
    folder = write_series(tmp_path, STORED, make_grid(), change=with_table(first, values, vr=vr))
    image = read(folder)
    np.testing.assert_array_equal(image.numpy(), TABLE[np.clip(STORED.astype(int) - first, 0, 399)])
    assert image.dtype == np.uint16
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        (z,) = (z for z in range(5) if (STORED[z] == dataset.pixel_array).all())
        np.testing.assert_array_equal(image.numpy()[z], apply_modality_lut(dataset.pixel_array, dataset))
    assert (image.meta["value_unit"], image.meta["rescale_slope"]) == ("HU", 1.0)
    assert image.meta["notes"] == ("Values are those of the file's table (Modality LUT).",)
    assert info(folder)["value unit"] == "HU"


@pytest.mark.parametrize("padded", [True, False])
def test_entries_of_eight_bits(tmp_path: Path, padded: bool) -> None:
    table = (np.arange(201) * 7 % 251).astype(np.uint8)  # odd: a byte is added
    data = table.astype("<u2").tobytes() if padded else table.tobytes() + b"\0"
    stored = (np.abs(STORED) % 256).astype(np.uint8)

    def change(dataset: Dataset, z: int) -> None:
        with_table(0, data, bits=8, vr="OW", kind="US")(dataset, z)
        dataset.ModalityLUTSequence[0].LUTDescriptor = [201, 0, 8]

    image = read(write_series(tmp_path, stored, make_grid(), change=change))
    np.testing.assert_array_equal(image.numpy(), table[np.minimum(stored, 200)])
    assert image.dtype == np.uint8
    assert "value_unit" not in image.meta


def test_each_slice_has_its_own(tmp_path: Path, phantom: Image) -> None:
    def change(dataset: Dataset, z: int) -> None:
        if z != 2:
            with_table(0, [5 * z, 5 * z + 1])(dataset, z)

    stored = np.ones((5, 7, 11), np.uint16)
    image = read(write_series(tmp_path, stored, make_grid(), change=change))
    np.testing.assert_array_equal(image.numpy()[:, 3, 4], [1, 6, 1, 16, 21])


def test_fewer_entries_than_promised(tmp_path: Path) -> None:
    def change(dataset: Dataset, z: int) -> None:
        with_table(0, [1, 2, 3])(dataset, z)
        dataset.ModalityLUTSequence[0].LUTDescriptor = [4, 0, 16]

    with pytest.raises(ImageError, match=r"a table \(Modality LUT\) of 3 entries; it promises 4"):
        read(write_series(tmp_path, STORED.astype(np.uint16), make_grid(), change=change))
