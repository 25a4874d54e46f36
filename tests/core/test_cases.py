"""Data sets as folders, CSV files and indices."""

from pathlib import Path

import numpy as np
import pytest

from deepbio import io
from deepbio.cases import Case, load_sample, read_cases, split_cases
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import RGB, Image, LabelMap


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n", "no rows"),
        ("picture,truth2\nx,y\n", "expected 'image' and 'label', or 'id'"),
        ("image,label\nimages/no.tif,labels/no.tif\n", "does not exist"),
        ("id\nmissing\n", "0 image files of this name"),
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
