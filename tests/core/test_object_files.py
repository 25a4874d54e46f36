"""The label images that belong to images."""

import pytest

from deepbio.errors import ImageError, OptionError
from deepbio.object_files import labels_of, names_labels


@pytest.mark.parametrize(
    ("files", "image", "expected"),
    [
        (("cell.tif", "cell-labels.tif", "cell-table.csv"), "in/cell.png", "cell-labels.tif"),
        (("cell.tif", "cells-labels.tif"), "in/cell.png", "cell.tif"),
        (("knee_labels.nii.gz", "knee.txt"), "in/knee.nii.gz", "knee_labels.nii.gz"),
        (("scan 1.5T-labels.nrrd",), "scan 1.5T", "scan 1.5T-labels.nrrd"),  # a node of 3D Slicer
        (("cell.tif", "cell_labels.png"), "{labels}/cell.tif", "cell_labels.png"),  # beside the image itself
    ],
)
def test_labels_in_a_folder_follow_the_images_name(tmp_path, files, image, expected) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    image = image.replace("{labels}", str(tmp_path))
    assert labels_of(str(tmp_path), image) == tmp_path / expected


def test_labels_by_pattern_and_table(tmp_path) -> None:
    (tmp_path / "m").mkdir()
    for name in ("a_seg.png", "b_seg.png"):
        (tmp_path / "m" / name).write_bytes(b"x")
    assert labels_of(str(tmp_path / "m/{name}_seg.png"), "x/b.ome.tif") == tmp_path / "m/b_seg.png"
    table = tmp_path / "t.csv"
    table.write_text("file,mask\nx/a.tif,m/a_seg.png\ny/a.tif,m/b_seg.png\nc.tif,m/none.png\nd.tif,\n")
    assert labels_of(str(table), tmp_path / "y/a.tif") == tmp_path / "m/b_seg.png"
    for image, words in (
        ("a.tif", "names 2 label images for 'a.tif'"),
        ("q.tif", "names no label image for 'q.tif'"),
        ("c.tif", r"none.png', of '.*t.csv', does not exist"),
        ("d.tif", "names no label image for 'd.tif'"),
    ):
        with pytest.raises(ImageError, match=words):
            labels_of(str(table), image)
    table.write_text("a,b\n1,2\n")
    with pytest.raises(ImageError, match=r"has the columns a, b; expected image and objects"):
        labels_of(str(table), "a.tif")


def test_labels_that_cannot_be_told(tmp_path) -> None:
    for name in ("cell.tif", "cell.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        ImageError, match=r"2 files that could be the labels of 'cell.jpg': cell.png, cell.tif"
    ):
        labels_of(str(tmp_path), "cell.jpg")
    with pytest.raises(ImageError, match=r"no labels for 'other.jpg'"):
        labels_of(str(tmp_path), "other.jpg")
    with pytest.raises(ImageError, match=r"'cell.jpg' has no label image: .*m/cell.tif' does not exist"):
        labels_of(str(tmp_path / "m/{name}.tif"), "cell.jpg")
    with pytest.raises(ImageError, match=r"The label image 'cels.tif' does not exist"):
        labels_of("cels.tif", "cell.jpg")
    with pytest.raises(OptionError, match=r"does not say where the image's name goes"):
        labels_of(str(tmp_path / "*.tif"), "cell.jpg")


def test_a_model_is_no_label_image(tmp_path) -> None:
    (tmp_path / "bioimageio.yaml").write_text("name: x")
    assert not names_labels(str(tmp_path))
    assert not names_labels("nuclei")
    assert names_labels("cells.tif")
    assert names_labels("pairs.csv")
    assert names_labels("m/{name}.tif")
