"""Series in a folder: found, listed, chosen; what is no image; and nothing of a patient anywhere."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import BasicTextSRStorage, EncapsulatedPDFStorage, RTStructureSetStorage

from deepbio.errors import ImageError
from deepbio.io import info, is_dicom, is_dicom_folder, list_series, read
from tests.conftest import make_grid
from tests.core.io.dicom_series import ROOT, SECRETS, base, write_series

SHIPPED = Path(get_testdata_file("CT_small.dcm", download=False)).parent
PIXELS = np.arange(5 * 7 * 11, dtype=np.int16).reshape(5, 7, 11)
GRID = make_grid()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with two series, a report and a note that is none of ours."""
    folder = tmp_path / "study"
    write_series(folder, PIXELS, GRID, series="12")
    write_series(folder, PIXELS[:3] + 1, GRID, series="7", modality="MR", start=200)
    base(f"{ROOT}.9", BasicTextSRStorage, "SR", "3").save_as(folder / "report", enforce_file_format=True)
    (folder / "notes.txt").write_text("Hello")
    return folder


def test_series_are_listed_images_first(study: Path) -> None:
    found = list_series(study)
    assert [(s.number, s.modality, len(s.files), s.is_image) for s in found] == [
        (1, "MR", 3, True),
        (2, "CT", 5, True),
        (3, "SR", 1, False),
    ]
    assert str(found[1]) == f"#2: CT, 7 x 11, 5 files, UID {ROOT}.1.12"
    assert found[2].kind == "Basic Text SR"


@pytest.mark.parametrize(
    ("series", "depth"), [("#1", 3), ("#2", 5), (f"{ROOT}.1.7", 3), (f"{ROOT}.1.12", 5), (f"{ROOT}.1.1", 5)]
)
def test_a_series_is_chosen(study: Path, series: str, depth: int) -> None:
    image = read(study, series=series)
    assert image.size("Z") == depth
    assert info(study, series=series)["series uid"] == image.meta["series_uid"]


@pytest.mark.parametrize(
    ("series", "message"),
    [("", "2 series of images"), ("#9", "no series '#9'"), (ROOT, "3 series"), ("x", "no series 'x'")],
)
def test_what_is_not_clear_lists_them(study: Path, series: str, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        read(study, series=series)
    assert message in caught.value.message
    assert f"#1: MR, 7 x 11, 3 files, UID {ROOT}.1.7" in caught.value.message
    assert caught.value.hint


def test_one_series_among_other_objects_is_the_one(study: Path) -> None:
    for series in list_series(study)[:1]:
        for file in series.files:
            file.unlink()
    assert read(study).shape == (5, 7, 11)


@pytest.mark.parametrize(
    ("kind", "modality", "name"),
    [
        (BasicTextSRStorage, "SR", "Basic Text SR"),
        (RTStructureSetStorage, "RTSTRUCT", "RT Structure Set"),
        (EncapsulatedPDFStorage, "DOC", "Encapsulated PDF"),
    ],
)
def test_what_is_no_image(tmp_path: Path, kind: str, modality: str, name: str) -> None:
    file = tmp_path / "object.dcm"
    base(f"{ROOT}.9", kind, modality).save_as(file, enforce_file_format=True)
    for path in (file, tmp_path):
        with pytest.raises(ImageError) as caught:
            read(path)
        assert f"is no image: it is '{name}' (modality {modality})" in caught.value.message
        assert "scan" in caught.value.hint


@pytest.mark.parametrize("name", ["rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm"])
def test_shipped_objects_that_are_no_images(name: str) -> None:
    with pytest.raises(ImageError, match="is no image"):
        read(SHIPPED / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MR_truncated.dcm", "The number of bytes of pixel data is less than expected"),
        ("ExplVR_BigEndNoMeta.dcm", "the letters DICM are missing"),
        ("empty_charset_LEI.dcm", "is no image: it is 'of unknown kind'"),
    ],
)
def test_damaged_files(name: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(SHIPPED / name)


@pytest.mark.parametrize("size", [0, 100, 132, 200, 400, 1000, 2000])
def test_cut_off_anywhere(tmp_path: Path, size: int) -> None:
    file = tmp_path / "cut.dcm"
    file.write_bytes((SHIPPED / "MR_small.dcm").read_bytes()[:size])
    with pytest.raises(ImageError, match=r"cut\.dcm"):
        read(file)


def test_noise_in_the_header_is_one_of_ours(tmp_path: Path, rng: np.random.Generator) -> None:
    whole = (SHIPPED / "CT_small.dcm").read_bytes()
    for trial in range(60):
        spoiled = bytearray(whole)
        for at in rng.integers(132, 4000, 12):
            spoiled[at] = rng.integers(256)
        file = tmp_path / f"{trial}.dcm"
        file.write_bytes(spoiled)
        with suppress(ImageError):  # nothing else, and no warning
            assert read(file).numpy().ndim >= 2


def test_folders_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hello")
    (tmp_path / "b.tif").write_bytes(bytes(128) + b"DICM")  # named as another format: not looked into
    assert not is_dicom_folder(tmp_path)
    assert list_series(tmp_path) == ()
    with pytest.raises(ImageError, match="not a known image format"):
        read(tmp_path)


def test_an_exported_disc_is_read_with_its_folders() -> None:
    disc = SHIPPED / "dicomdirtests"
    found = list_series(disc)
    assert (len(found), found[5].modality, len(found[5].files)) == (14, "CT", 4)
    assert not is_dicom_folder(disc / "77654033")  # only the folders in it have files
    assert is_dicom_folder(disc)
    with pytest.raises(
        ImageError, match=r"Slices are missing .* 161 between"
    ):  # 4 files are all that is shipped
        read(disc, series="#6")


def test_the_index_of_a_disc_is_no_image() -> None:
    with pytest.raises(ImageError, match="is the index of an exported disc") as caught:
        read(SHIPPED / "dicomdirtests" / "DICOMDIR")
    assert caught.value.hint == "Name the folder that it is in."


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, PIXELS, GRID)
    shutil.copy(next(tmp_path.iterdir()), tmp_path / "._IM0003")
    assert read(tmp_path).shape == (5, 7, 11)


def test_a_file_that_no_one_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_series(tmp_path, PIXELS, GRID)
    monkeypatch.setattr("pydicom.dcmread", refuse)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read(tmp_path)


def test_nothing_of_the_patient_comes_out(
    study: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[object] = []
    for series in ("#1", "#2"):
        image = read(study, series=series)
        said += [image, image.meta, info(study, series=series)]
    for wrong in ("", "#3", "x"):
        with pytest.raises(ImageError) as caught:
            read(study, series=wrong)
        said += [str(caught.value), caught.value.__cause__]
    said += [list_series(study), [str(one) for one in list_series(study)], caplog.text, capsys.readouterr()]
    told = repr(said)
    assert len(SECRETS) > 10
    assert not [secret for secret in SECRETS if secret.lower() in told.lower()]


def test_is_dicom(tmp_path: Path) -> None:
    assert is_dicom(SHIPPED / "CT_small.dcm")
    assert not is_dicom(SHIPPED / "ExplVR_BigEndNoMeta.dcm")
    assert not is_dicom(tmp_path)
