"""Data sets as folders, CSV files and indices."""

from pathlib import Path

import numpy as np
import pytest

from deepbio import io
from deepbio.cases import Case, check_grids, fold_cases, load_sample, read_cases, split_cases
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import RGB, Grid, Image, LabelMap


def _write(folder: Path, name: str, shape: tuple[int, ...] = (5, 7)) -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    io.write(folder / "images" / f"{name}.tif", Image(np.ones(shape, np.uint8)))
    io.write(folder / "labels" / f"{name}.tif", LabelMap(np.arange(np.prod(shape)).reshape(shape)))


def test_a_folder_of_pairs(tmp_path: Path) -> None:
    _write(tmp_path, "b")
    _write(tmp_path, "a")
    cases = read_cases(tmp_path)
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].labels == tmp_path / "labels" / "a.tif"


def test_names_with_dots_are_cases_of_their_own(tmp_path: Path) -> None:
    for name in ("1.2.840.1", "1.2.840.2"):
        _write(tmp_path, name)
    cases = read_cases(tmp_path)
    assert [case.name for case in cases] == ["1.2.840.1", "1.2.840.2"]
    assert [case.labels.name for case in cases] == ["1.2.840.1.tif", "1.2.840.2.tif"]


def test_folders_of_parts(tmp_path: Path) -> None:
    _write(tmp_path / "train", "a")
    _write(tmp_path / "val", "b")
    assert [(case.name, case.split) for case in read_cases(tmp_path)] == [("a", "train"), ("b", "val")]


def test_a_csv_names_files_parts_and_groups(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    table = tmp_path / "cases.csv"
    table.write_text("Image,Label,Split,kind\nimages/a.tif,labels/a.tif,Val,he\n")
    assert read_cases(table) == [Case(tmp_path / "images/a.tif", tmp_path / "labels/a.tif", "he", "val")]


def test_an_index_names_ids(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    (tmp_path / "index.csv").write_text("id,split\na,train\n")
    assert [(case.name, case.split) for case in read_cases(tmp_path)] == [("a", "train")]


def test_an_index_names_files_and_patients(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    (tmp_path / "index.csv").write_text("file,patient,split\na.tif,P1,train\n")
    case = Case(tmp_path / "images/a.tif", tmp_path / "labels/a.tif", split="train", patient="P1")
    assert read_cases(tmp_path) == [case]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n", "no rows"),
        ("picture,truth2\nx,y\n", "expected 'image' and 'label', 'file', or 'id'"),
        ("image,label\nimages/no.tif,labels/no.tif\n", "does not exist"),
        ("id\nmissing\n", "0 image files of this name"),
        ("file\nmissing.tif\n", "does not exist"),
    ],
)
def test_a_bad_csv_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(ImageError, match=message):
        read_cases(tmp_path / "cases.csv")


def test_an_image_without_labels_is_told(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    (tmp_path / "labels" / "a.tif").unlink()
    with pytest.raises(ImageError, match="no label file of the same name"):
        read_cases(tmp_path)


def test_a_missing_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_cases(tmp_path / "nowhere")


def test_the_split_of_a_case_does_not_depend_on_the_others() -> None:
    cases = [Case(Path(f"{i}.tif"), Path(f"{i}.tif")) for i in range(40)]
    train, val = split_cases(cases)
    assert (len(train), len(val)) == (34, 6)
    assert not set(train) & set(val)
    held = {case.name for case in split_cases(cases[:20])[1]}
    assert held <= {case.name for case in cases[:20]}


def test_a_told_split_is_kept_and_test_is_left_out() -> None:
    cases = [Case(Path(f"{i}"), Path(f"{i}"), split=s) for i, s in enumerate(("train", "val", "test"))]
    assert split_cases(cases) == ([cases[0]], [cases[1]])


def test_both_parts_are_needed() -> None:
    with pytest.raises(ImageError, match="1 for train and 0 for val"):
        split_cases([Case(Path("a"), Path("a"), split="train")])


def test_grey_fills_the_channels_of_colour(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    sample = load_sample(read_cases(tmp_path)[0], channels=3)
    assert sample.image.shape == (3, 5, 7)
    assert sample.labels.dtype == np.int32
    assert sample.labels.max() == 34


def test_labels_must_lie_on_the_image(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    io.write(tmp_path / "labels" / "a.tif", LabelMap(np.ones((5, 9), np.uint8)))
    with pytest.raises(InputMismatch, match=r"\(5, 7\).*\(5, 9\)"):
        load_sample(read_cases(tmp_path)[0])


def test_colour_does_not_become_grey(tmp_path: Path) -> None:
    _write(tmp_path, "a")
    io.write(tmp_path / "images" / "a.tif", Image(np.ones((3, 5, 7), np.uint8), "CYX", channels=RGB))
    with pytest.raises(InputMismatch, match="RGB channels, the network takes 1"):
        load_sample(read_cases(tmp_path)[0], channels=1)


def _of_patients(patients: int, each: int = 3) -> list[Case]:
    names = [(p, i) for p in range(patients) for i in range(each)]
    return [Case(Path(f"{p}_{i}.tif"), Path(f"{p}_{i}.tif"), patient=f"P{p}") for p, i in names]


def test_a_patient_is_in_one_part() -> None:
    train, val = split_cases(_of_patients(14))
    assert not {case.patient for case in train} & {case.patient for case in val}
    assert (len(train), len(val)) == (36, 6)


def test_a_patient_in_both_parts_is_told() -> None:
    cases = [Case(Path(f"{s}.tif"), Path(f"{s}.tif"), split=s, patient="P7") for s in ("train", "val")]
    with pytest.raises(ImageError, match="1 patients are in train and in val, the first is 'P7'"):
        split_cases(cases)


@pytest.mark.parametrize(("patients", "folds"), [(5, 5), (7, 3), (13, 2)])
def test_folds_hold_out_each_case_once(patients: int, folds: int) -> None:
    cases = _of_patients(patients)
    parts = fold_cases([*cases, Case(Path("t"), Path("t"), split="test")], folds)
    held = [case for _, val in parts for case in val]
    assert sorted(map(str, held)) == sorted(map(str, cases))
    for train, val in parts:
        assert len(train) + len(val) == len(cases)
        assert not {case.patient for case in train} & {case.patient for case in val}
    sizes = [len(val) for _, val in parts]
    assert max(sizes) - min(sizes) <= 3
    assert parts == fold_cases(list(reversed(cases)), folds)


def test_too_many_folds_are_told() -> None:
    with pytest.raises(ImageError, match="2 patients or cases cannot be divided into 3 folds"):
        fold_cases(_of_patients(2), 3)


_OBLIQUE = np.linalg.qr(np.array([[0.1, 0.3, 1.0], [0.2, 1.0, -0.2], [-1.0, 0.1, 0.4]]))[0]
_GRID = Grid((5, 7, 11), (1.2, 0.8, 0.5), (-31.0, 12.5, 200.25), _OBLIQUE, "millimeter")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (_GRID, ""),
        (_GRID.replace(origin=(-31.0004, 12.5, 200.25)), ""),  # below 1e-3 of a voxel
        (_GRID.replace(spacing=(1.2001, 0.8, 0.5)), ""),
        (Grid((5, 7, 11)), ""),  # labels that know nothing
        (_GRID.replace(spacing=(1200, 800, 500), origin=(-31e3, 12.5e3, 200.25e3), unit="micrometer"), ""),
        (_GRID.replace(shape=(5, 11, 7)), r"\(5, 7, 11\).*\(5, 11, 7\)"),
        (_GRID.replace(origin=tuple(_GRID.to_world((0, 2, 0)))), r"up to 2 voxels \(1\.6 mm\)"),
        (_GRID.replace(direction=_OBLIQUE * [1, 1, -1]), r"up to 20 voxels \(10 mm\)"),
        (_GRID.replace(spacing=(1.2, 0.8, 1.0)), r"up to 10 voxels \(5 mm\)"),
    ],
)
def test_grids_that_differ_are_told_apart_from_rounding(labels: Grid, message: str) -> None:
    case = Case(Path("a.nii"), Path("b.nii"))
    if not message:
        check_grids(case, _GRID, labels)
        return
    with pytest.raises(InputMismatch, match=message):
        check_grids(case, _GRID, labels)


@pytest.mark.parametrize("kind", [np.uint32, np.int64])
def test_labels_that_training_has_no_room_for(tmp_path: Path, kind: type) -> None:
    _write(tmp_path, "a")
    labels = np.zeros((5, 7), kind)
    labels[2, 3] = 3_000_000_000  # -1,294,967,296 as int32
    io.write(tmp_path / "labels" / "a.tif", LabelMap(labels))
    (case,) = read_cases(tmp_path)
    with pytest.raises(
        ImageError, match=r"a.tif' holds the label 3000000000; training takes labels up to 16777215"
    ):
        load_sample(case)
