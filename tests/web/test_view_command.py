"""What ``deepbio view`` says before there is a page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deepbio.library import find_model, remove_model
from deepbio.library.store import user_folder
from deepbio_web.command import files_of_cases
from tests.core.command import deepbio, process
from tests.slicer.two_channels import write_two_channel_model
from tests.web.conftest import EXAMPLES


def test_help_names_the_options() -> None:
    done = deepbio("view", "--help")
    assert done.code == 0
    for word in ("--model", "--port", "--no-browser", "--series"):
        assert word in done.out


def test_a_missing_file_is_told_at_once() -> None:
    done = deepbio("view", "nowhere.nii.gz", "--no-browser")
    assert done.code == 3
    assert "nowhere.nii.gz" in done.err


def test_an_unknown_model_is_told_with_the_nearest_name() -> None:
    done = deepbio("view", EXAMPLES / "fluorescence.tif", "--model", "nuclie", "--no-browser")
    assert done.code == 5
    assert "nuclei" in done.err


def test_a_model_outside_of_the_library_is_to_be_added_first(threshold_model: Path) -> None:
    done = deepbio("view", EXAMPLES / "fluorescence.tif", "--model", threshold_model, "--no-browser")
    assert done.code == 5
    assert f"deepbio models add {threshold_model}" in done.err


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trame_slicer", None)
    done = deepbio("view", EXAMPLES / "fluorescence.tif", "--no-browser")
    assert done.code == 7
    assert 'pip install "deepbio-imaging[web]"' in done.err


def test_a_file_that_is_no_image_ends_it(tmp_path: Path) -> None:
    pytest.importorskip("trame_slicer", reason="the extra 'web' is not installed")
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"not an image")
    done = process("view", path, "--no-browser", timeout=120)
    assert done.code == 3
    assert "broken.nii.gz" in done.err


def test_a_case_that_lacks_a_file_is_told_by_name(tmp_path: Path) -> None:
    model = write_two_channel_model(user_folder(), channel_files=True)
    (tmp_path / "knee_0001.nii.gz").write_bytes(b"not read")
    try:
        done = deepbio("view", tmp_path / "knee_0001.nii.gz", "--model", "pair", "--no-browser")
    finally:
        remove_model(model.name)
    assert done.code == 3
    assert "knee_0000.nii.gz' does not exist" in done.err


def test_a_folder_is_an_image_whatever_it_is_called(tmp_path: Path) -> None:
    card = find_model(write_two_channel_model(tmp_path / "models", channel_files=True))
    folder, plain = tmp_path / "patient_0001", tmp_path / "both.nii.gz"
    folder.mkdir()
    files = [tmp_path / f"knee_{k:04d}.nii.gz" for k in range(2)]
    for file in (*files, plain):
        file.write_bytes(b"not read")
    assert files_of_cases([folder, files[1], plain, files[0]], card) == [folder, *files, plain]


def test_one_of_several_images_that_is_missing_is_named() -> None:
    done = deepbio("view", EXAMPLES / "fluorescence.tif", "nowhere.tif", "--no-browser")
    assert done.code == 3
    assert "'nowhere.tif'" in done.err


def test_a_series_is_of_one_folder() -> None:
    image = EXAMPLES / "fluorescence.tif"
    done = deepbio("view", image, EXAMPLES / "timelapse.tif", "--series", "#2", "--no-browser")
    assert done.code == 2
    assert "--series names a series of one DICOM folder; found 2 images." in done.err


def test_planes_and_volumes_are_not_of_one_page() -> None:
    pytest.importorskip("trame_slicer", reason="the extra 'web' is not installed")
    plane, volume = EXAMPLES / "fluorescence.tif", EXAMPLES / "hippocampus" / "hippocampus_311.nii.gz"
    done = process("view", volume, plane, "--no-browser", timeout=120)
    assert done.code == 3
    assert "'fluorescence.tif' is a plane, 'hippocampus_311.nii.gz' a volume" in done.err
