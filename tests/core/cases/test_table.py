"""Tables and folders as every reader of data sets sees them."""

from pathlib import Path

import pytest

from deepbio.cases.classify import read_class_cases
from deepbio.cases.restore import read_restore_cases
from deepbio.cases.segment import read_cases
from deepbio.cases.sequence import read_sequences
from deepbio.cases.table import columns_of, image_files, read_rows, same_names
from deepbio.errors import ImageError


def test_rows_are_trimmed_and_as_long_as_the_header(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes("\ufeffImage , LABEL,split\n a b.tif ,x.tif\nc.tif,,val,beyond,this\n".encode())
    assert columns_of(path) == ["image", "label", "split"]
    assert read_rows(path) == [
        {"image": "a b.tif", "label": "x.tif", "split": ""},
        {"image": "c.tif", "label": "", "split": "val"},
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_of_other_countries_are_read(tmp_path: Path, separator) -> None:
    path = tmp_path / "a.csv"
    lines = (
        [("Image", "label", "split"), ("a, b.tif", "c;d.tif", "val")]
        if separator == "\t"
        else [("Image", "label", "split"), ("a.tif", "c d.tif", "val")]
    )
    path.write_text("\n".join(separator.join(line) for line in lines), encoding="utf-8-sig")
    assert columns_of(path) == ["image", "label", "split"]
    assert read_rows(path) == [dict(zip(columns_of(path), lines[1], strict=True))]
    path.write_text("image\n1;2.tif\n")  # the header decides
    assert read_rows(path) == [{"image": "1;2.tif"}]


def test_columns_of_a_folder_are_those_of_its_index(tmp_path: Path) -> None:
    assert columns_of(tmp_path) == []
    (tmp_path / "index.csv").write_text("id,Frames\n")
    assert columns_of(tmp_path) == ["id", "frames"]
    (tmp_path / "index.txt").write_text("id\n")
    assert columns_of(tmp_path / "index.txt") == []


@pytest.mark.parametrize("read", [read_cases, read_class_cases, read_restore_cases, read_sequences])
def test_what_is_no_table_is_one_clear_error(tmp_path: Path, read) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b"image,label,class\n\xff\xfe\x00a,b,c\n")
    with pytest.raises(ImageError, match=r"cases.csv' is not a table of text \(CSV\)"):
        read(path)
    path.write_text("image,label,class\n")
    with pytest.raises(ImageError, match="has no rows"):
        read(path)


def test_images_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.TIF", "a.nii.gz", "notes.txt", "c.png", "._a.nii.gz"):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ["a.nii.gz", "b.TIF", "c.png"]


def test_files_named_by_uids_keep_their_partners() -> None:
    images = [Path(f"images/1.2.840.{n}.nii.gz") for n in (1, 2)]
    labels = [Path(f"labels/1.2.840.{n}.nrrd") for n in (1, 2)]
    assert same_names(images, labels) == dict(zip(images, labels, strict=True))
    assert same_names(images, labels[:1]) == {images[0]: labels[0]}


def test_the_beginning_of_a_name_counts_where_it_is_the_only_one() -> None:
    scan, more = Path("a.nii.gz"), Path("a.b.nii.gz")
    labels, others = Path("a.seg.nrrd"), Path("a.mask.nrrd")
    assert same_names([scan], [labels]) == {scan: labels}
    assert same_names([scan], [labels, others]) == {}
    assert same_names([scan, more], [labels]) == {}
