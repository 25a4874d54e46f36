"""Which files a batch takes, and which label images belong to them."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import BasicTextSRStorage

from deepbio.errors import ImageError, OptionError
from deepbio.inputs import RECORD, Input, find_inputs, read_record, split_suffix
from deepbio.naming import plan_names
from deepbio.records import identity
from tests.conftest import make_grid
from tests.core.io.dicom_series import ROOT, base, write_series


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three folders of files whose content does not matter."""
    for name in (
        "a/cell.tif",
        "a/CELL2.TIF",
        "a/notes.txt",
        "a/.hidden.tif",
        "a/deep/cell.tif",
        "b/cell.nii.gz",
        "b/x.png",
        "scan.nii/scan.nii",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "stack.zarr/0").mkdir(parents=True)
    (tmp_path / "stack.zarr/0/c.tif").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a"], ["a/CELL2.TIF", "a/cell.tif"]),
        (["a/cell.tif"], ["a/cell.tif"]),
        (["b", "a/cell.tif"], ["b/cell.nii.gz", "b/x.png", "a/cell.tif"]),
        (["a/*.tif"], ["a/cell.tif"]),
        (["**/cell.*"], ["a/cell.tif", "a/deep/cell.tif", "b/cell.nii.gz"]),
        (["a/cell.tif", "a", "a/../a/cell.tif"], ["a/cell.tif", "a/CELL2.TIF"]),
        (["?"], ["a/CELL2.TIF", "a/cell.tif", "b/cell.nii.gz", "b/x.png"]),
        (["**/deep"], ["a/deep/cell.tif"]),
        (["a/**"], ["a/CELL2.TIF", "a/cell.tif", "a/deep/cell.tif"]),
        (["*"], ["a/CELL2.TIF", "a/cell.tif", "b/cell.nii.gz", "b/x.png", "scan.nii/scan.nii", "stack.zarr"]),
        (["scan.*"], ["scan.nii/scan.nii"]),
        (["stack.zarr"], ["stack.zarr"]),
        (["s*/**"], ["scan.nii/scan.nii", "stack.zarr"]),
        (["missing.tif"], ["missing.tif"]),
        (["a/notes.txt"], ["a/notes.txt"]),
    ],
)
def test_inputs_are_found(tree: Path, given: list[str], expected: list[str]) -> None:
    assert [str(file) for file in find_inputs(given)] == expected


def test_absolute_pattern(tree: Path) -> None:
    assert find_inputs([f"{tree}/b/*.png"]) == (Input(tree / "b" / "x.png"),)


def test_file_whose_name_looks_like_a_pattern(tree: Path) -> None:
    (tree / "cell[1].tif").write_bytes(b"x")
    assert find_inputs(["cell[1].tif"]) == (Input(Path("cell[1].tif")),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["empty"], "The folder 'empty' has no image."),
        (["emp*"], "No image matches 'emp*'."),
        (["a/*.jpg"], "No image matches 'a/*.jpg'."),
        ([], "There is no input."),
    ],
)
def test_nothing_found_is_an_error(tree: Path, given: list[str], message: str) -> None:
    with pytest.raises(ImageError) as caught:
        find_inputs(given)
    assert caught.value.message == message
    assert caught.value.hint


def test_a_folder_of_folders_says_how_to_go_into_them(tree: Path) -> None:
    (tree / "empty" / "plate").mkdir()
    with pytest.raises(ImageError, match=r"has no image") as caught:
        find_inputs(["empty"])
    assert str(Path("empty") / "**") in caught.value.hint


def write_record(folder: Path, name: str, file: Path) -> None:
    record = {"input": {"path": str(file.resolve())}, "seconds": 1.0, "objects": 3}
    (folder / f"{name}{RECORD}").write_text(json.dumps(record))


def test_results_of_an_earlier_run_are_no_inputs(tree: Path) -> None:
    for name in ("cell-labels.tif", "cell-overlay.png", "cell-other.tif", "other-labels.tif"):
        (tree / "a" / name).write_bytes(b"x")
    write_record(tree / "a", "cell", tree / "a" / "cell.tif")
    others = ["CELL2.TIF", "cell-other.tif", "cell.tif", "other-labels.tif"]
    assert [file.path.name for file in find_inputs(["a"])] == others
    assert [file.path.name for file in find_inputs(["a/*.tif"])] == others[1:]
    named = ["a/cell-labels.tif", "a/cell.tif"]
    assert [str(file) for file in find_inputs(named, Path("b"))] == named
    assert [str(file) for file in find_inputs(named, Path("a"))] == named[1:]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cell.tif", ("cell", ".tif")),
        ("Knee.NII.GZ", ("Knee", ".nii.gz")),
        ("a.b.ome.tif", ("a.b", ".ome.tif")),
        ("notes.txt", ("notes", ".txt")),
        ("noname", ("noname", "")),
        ("stack.ome.zarr", ("stack", ".ome.zarr")),
    ],
)
def test_suffix_is_split_off_whole(name: str, parts: tuple[str, str]) -> None:
    assert split_suffix(Path("folder") / name) == parts


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"input": 3, "seconds": 1, "objects": 2}', '{"seconds": 1}']
)
def test_what_is_no_record_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.deepbio.json").write_text(text)
    assert read_record(tmp_path / "x.deepbio.json") is None
    assert read_record(tmp_path / "missing.deepbio.json") is None


# --- DICOM: a series is an image

PIXELS = np.arange(5 * 7 * 11, dtype=np.int16).reshape(5, 7, 11)


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scans, one of two series with a picture and a report among them, one of one series."""
    write_series(tmp_path / "study/thorax", PIXELS, make_grid(), series="3")
    write_series(tmp_path / "study/thorax", PIXELS, make_grid(), series="2", modality="MR", start=2000)
    (tmp_path / "study/thorax/key.png").write_bytes(b"x")
    report = base(f"{ROOT}.9", BasicTextSRStorage, "SR", "1")
    report.save_as(tmp_path / "study/thorax/report.dcm", enforce_file_format=True)
    write_series(tmp_path / "study/head", PIXELS, make_grid(), series="4")
    (tmp_path / "study/empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["study/head"], [("study/head", "4", 1)]),
        (["study/thorax"], [("study/thorax/key.png", "", 0), ("study/thorax", "2", 1), ("study/thorax", "3", 2)]),
        (["study/*"], [("study/head", "4", 1), ("study/thorax/key.png", "", 0), ("study/thorax", "2", 1), ("study/thorax", "3", 2)]),
        (["**/head"], [("study/head", "4", 1)]),
        (["study/**"], [("study/head", "4", 1), ("study/thorax/key.png", "", 0), ("study/thorax", "2", 1), ("study/thorax", "3", 2)]),
        (["study/head/IM0003"], [("study/head/IM0003", "", 0)]),
        (["study/head", "study/../study/head"], [("study/head", "4", 1)]),
    ],
)  # fmt: skip
def test_each_series_is_an_input(scans: Path, given: list[str], expected: list[tuple[str, str, int]]) -> None:
    found = find_inputs(given)
    assert [(str(one.path), one.series.removeprefix(f"{ROOT}.1."), one.number) for one in found] == expected
    assert [one.is_dicom for one in found] == [not name.endswith(".png") for name, _, _ in expected]
    assert find_inputs(found) == found


@pytest.mark.parametrize(("series", "number"), [("#2", 2), (f"{ROOT}.1.3", 2), (f"{ROOT}.1.2", 1)])
def test_one_series_of_a_folder(scans: Path, series: str, number: int) -> None:
    (found,) = find_inputs(["study/thorax"], series=series)
    assert (found.series, found.number) == (f"{ROOT}.1.{number + 1}", number)


def test_a_series_that_is_not_there(scans: Path) -> None:
    with pytest.raises(ImageError, match="no series '#9'"):
        find_inputs(["study/thorax"], series="#9")
    with pytest.raises(OptionError, match=r"key\.png' is no DICOM folder"):
        find_inputs(["study/thorax/key.png"], series="#1")
    with pytest.raises(ImageError, match="The folder 'study/empty' has no image"):
        find_inputs(["study/empty"])


def test_series_have_the_name_of_their_folder(scans: Path) -> None:
    found = plan_names(find_inputs(["study/*"]), Path("out"))
    assert list(found.values()) == ["head", "key", "thorax", "thorax_s2"]
    found = plan_names(find_inputs(["study/thorax"], series="#2"), Path("out"))
    assert list(found.values()) == ["thorax_s2"]
    monday = write_series(scans / "monday/head", PIXELS, make_grid())
    found = plan_names(find_inputs(["study/head", monday]), Path("out"))
    assert list(found.values()) == ["study_head", "monday_head"]


@pytest.mark.parametrize("pattern", ["study/**", "**", "study/*"])
def test_slices_are_no_images_beside_their_series(scans: Path, pattern: str) -> None:
    for file in (scans / "study/head").iterdir():
        file.rename(file.with_suffix(".dcm"))
    found = [(one.path.name, one.number) for one in find_inputs([pattern])]
    assert found == [("head", 1), ("key.png", 0), ("thorax", 1), ("thorax", 2)]
    assert len(find_inputs(["study/head/*.dcm"])) == len(PIXELS)  # named alone, read alone


def test_a_disc_in_a_pattern_is_one_folder(scans: Path) -> None:
    (scans / "study/DICOMDIR").write_bytes(bytes(132))
    named, matched = find_inputs(["study"]), find_inputs(["stud*/**"])
    assert [one.number for one in named] == [1, 2, 3]
    assert set(matched) == {*named, Input(Path("study/thorax/key.png"))}


def test_a_folder_of_reports_alone(scans: Path) -> None:
    report = scans / "report"
    report.mkdir()
    (scans / "study/thorax/report.dcm").rename(report / "a.dcm")
    with pytest.raises(ImageError, match="has no image"):
        find_inputs([report])


# --- label images -------------------------------------------------------------------------------


def test_files_of_channels_are_one_input_where_the_model_has_them_so(tmp_path: Path) -> None:
    for name in ("knee_0000.nii.gz", "knee_0001.nii.gz", "hip_0000.nii.gz", "hip_0001.nii.gz", "4d.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    files = find_inputs([tmp_path], channels=2)
    assert [file.path.name for file in files] == ["4d.nii.gz", "hip_0000.nii.gz", "knee_0000.nii.gz"]
    assert [len(file.channels) for file in files] == [0, 2, 2]
    assert files[1].source == (tmp_path / "hip_0000.nii.gz", tmp_path / "hip_0001.nii.gz")
    assert files[0].source == tmp_path / "4d.nii.gz"
    # whichever is named, it is the same image
    assert find_inputs([tmp_path / "knee_0001.nii.gz"], channels=2) == files[2:]
    assert list(plan_names(files, tmp_path / "out").values()) == ["4d", "hip", "knee"]
    assert find_inputs(files, channels=2) == files
    assert len(find_inputs([tmp_path])) == 5
    told = identity(files[1])
    assert (told["files"], told["bytes"]) == (2, 2)
    with pytest.raises(ImageError, match=r"takes 3 channels, .*: hip_0002\.nii\.gz, knee_0002\.nii\.gz\."):
        find_inputs([tmp_path], channels=3)


def test_all_cases_that_lack_files_are_named_at_once(tmp_path: Path) -> None:
    for name in ("a_0000.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz", "c_0001.nii.gz", "plain.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImageError) as told:
        find_inputs([tmp_path], channels=2)
    message = told.value.args[0]
    assert [name for name in ("a_0001", "b_0000", "b_0001", "c_0000", "plain") if name in message] == [
        "a_0001",
        "c_0000",
    ]
    assert told.value.hint == "Files are called a_0000.nii.gz to a_0001.nii.gz."
    for k in range(20):
        (tmp_path / f"x{k:02d}_0000.nii.gz").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"x09_0001\.nii\.gz and 10 more\. Files"):
        find_inputs([tmp_path], channels=2)
    other = tmp_path / "other"
    other.mkdir()
    (other / "y_0000.nii.gz").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"does not exist\. Files"):
        find_inputs([other], channels=2)
    with pytest.raises(ImageError, match=rf"missing: {tmp_path}/a_0001.nii.gz, {other}/y_0001.nii.gz"):
        find_inputs([tmp_path / "a_0000.nii.gz", other], channels=2)
