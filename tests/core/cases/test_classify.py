"""Cases of classification from every layout, and what is refused."""

import numpy as np
import pytest

from deepbio import io
from deepbio.cases import split_cases
from deepbio.cases.classify import (
    class_names,
    is_class_data,
    load_image,
    load_pixels,
    read_class_cases,
)
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import RGB, Image
from tests.core.training.shapes import shape_image, write_arrays, write_folders


def test_folders_of_classes_in_parts(tmp_path) -> None:
    folder = write_folders(tmp_path, {"train": (3, 2), "val": (1, 1)})
    cases = read_class_cases(folder)
    assert len(cases) == 7
    assert class_names(cases) == ("cross", "disc")
    train, val = split_cases(cases)
    assert [case.class_name for case in train] == ["cross"] * 2 + ["disc"] * 3
    assert [case.class_name for case in val] == ["cross", "disc"]
    np.testing.assert_array_equal(load_pixels(val[1]), shape_image(0, 1000)[None])
    assert is_class_data(folder)
    assert is_class_data(folder / "train")
    assert {case.split for case in read_class_cases(folder / "train")} == {""}


def test_a_table_of_files(tmp_path) -> None:
    write_folders(tmp_path, {"train": (2, 1)})
    rows = ["File,Class,split,patient", "train/disc/0.tif,disc,train,p1", "train/cross/0.tif,cross,valid,p2"]
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    for source in (tmp_path, tmp_path / "index.csv"):
        cases = read_class_cases(source)
        assert [(c.class_name, c.split, c.patient) for c in cases] == [
            ("cross", "val", "p2"),
            ("disc", "train", "p1"),
        ]
        assert is_class_data(source)


def test_arrays_in_2d_3d_grey_and_colour(tmp_path) -> None:
    path = write_arrays(tmp_path / "shapes.npz", {"train": (11, 2), "val": (2, 1)})
    cases = read_class_cases(path)
    assert is_class_data(path)
    assert [case.name for case in cases if case.split == "val"] == ["val_0", "val_1", "val_2"]
    assert [case.class_name for case in cases if case.split == "train"] == ["0"] * 11 + ["1"] * 2
    np.testing.assert_array_equal(load_pixels(cases[10])[0], shape_image(0, 10))
    random = np.random.default_rng(0)
    labels = {"train_labels": np.array([[0], [1]], np.uint8)}
    for shape, axes, given in (
        ((2, 5, 7, 3), "CYX", (3, 5, 7)),
        ((2, 4, 5, 7), "ZYX", (1, 4, 5, 7)),
        ((2, 4, 5, 7, 3), "CZYX", (3, 4, 5, 7)),
    ):
        images = random.integers(0, 255, shape, np.uint8)
        np.savez(tmp_path / "other.npz", train_images=images, **labels)
        one = read_class_cases(tmp_path / "other.npz")[1]
        assert (load_image(one).axes, load_pixels(one).shape) == (axes, given)
        pixels = np.moveaxis(images[1], -1, 0) if axes.startswith("C") else images[1][None]
        np.testing.assert_array_equal(load_pixels(one), pixels)


def test_other_data_is_left_to_others(tmp_path) -> None:
    (tmp_path / "pairs.csv").write_text("image,label,class\na.tif,b.tif,fluo\n")
    np.savez(tmp_path / "noise.npz", low=np.zeros(3), high=np.zeros(3))
    (tmp_path / "segment" / "images").mkdir(parents=True)
    (tmp_path / "segment" / "masks").mkdir()
    for folder in ("images", "masks"):
        io.write(tmp_path / "segment" / folder / "a.tif", Image(np.zeros((4, 5), np.uint8)))
    for name in ("pairs.csv", "noise.npz", "segment", "nothing.csv"):
        assert not is_class_data(tmp_path / name)


def test_what_cannot_be_read(tmp_path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_class_cases(tmp_path / "nothing")
    with pytest.raises(ImageError, match="no folders of images"):
        read_class_cases(tmp_path)
    table = tmp_path / "table.csv"
    table.write_text("image,kind\na.tif,x\n")
    with pytest.raises(ImageError, match="expected 'image' and 'class'"):
        read_class_cases(table)
    table.write_text("image,class\na.tif,x\n")
    with pytest.raises(ImageError, match="which does not exist"):
        read_class_cases(table)
    io.write(tmp_path / "a.tif", Image(np.zeros((4, 5), np.uint8)))
    table.write_text("image,class\na.tif,x\na.tif,\n")
    with pytest.raises(ImageError, match=r"Line 3 .* lacks an image or a class"):
        read_class_cases(table)
    np.savez(tmp_path / "few.npz", train_images=np.zeros((3, 4, 4)), train_labels=np.zeros((2, 1), int))
    with pytest.raises(ImageError, match="3 images and 2 labels for train"):
        read_class_cases(tmp_path / "few.npz")
    np.savez(tmp_path / "many.npz", train_images=np.zeros((3, 4, 4)), train_labels=np.zeros((3, 2), int))
    with pytest.raises(ImageError, match="one whole number for each image"):
        read_class_cases(tmp_path / "many.npz")
    np.savez(tmp_path / "code.npz", train_images=np.array([{}]), train_labels=np.zeros((1, 1), int))
    with pytest.raises(ImageError, match="cannot be read as arrays of numbers"):
        read_class_cases(tmp_path / "code.npz")


def test_time_is_refused_and_thin_stacks_are_flat(tmp_path) -> None:
    for name, shape, axes in (("movie", (2, 4, 5), "TYX"), ("thin", (1, 4, 5), "ZYX")):
        (tmp_path / name).mkdir()
        io.write(tmp_path / name / "a.ome.tif", Image(np.zeros(shape, np.uint8), axes))
    movie, thin = read_class_cases(tmp_path)
    with pytest.raises(InputMismatch, match="has a time axis"):
        load_pixels(movie)
    assert load_pixels(thin).shape == (1, 4, 5)


def test_colour_is_first(tmp_path) -> None:
    (tmp_path / "cell").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 4, 5), np.uint8)
    io.write(tmp_path / "cell" / "a.png", Image(pixels, "CYX", channels=RGB))
    np.testing.assert_array_equal(load_pixels(read_class_cases(tmp_path)[0]), pixels)
