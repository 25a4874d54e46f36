"""Data sets of restoration: pairs, images alone, clean images alone, and what contradicts itself."""

import numpy as np
import pytest

from deepbio import io
from deepbio.cases.restore import coarser, load_restore_sample, looks_like_pairs, read_restore_cases
from deepbio.errors import ImageError, InputMismatch
from deepbio.image import RGB, Grid, Image


def _write(path, shape=(13, 17), axes="YX", seed=0, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 250, shape).astype(np.uint8)
    io.write(path, Image(pixels, axes, **more))
    return path


@pytest.mark.parametrize("folders", [("input", "target"), ("low", "high"), ("noisy", "clean")])
def test_folders_of_pairs(tmp_path, folders) -> None:
    for split in ("train", "val"):
        for folder, suffix in zip(folders, (".tif", ".png"), strict=True):
            _write(tmp_path / split / folder / f"a_{split}{suffix}")
    cases = read_restore_cases(tmp_path)
    assert [(case.name, case.split) for case in cases] == [("a_train", "train"), ("a_val", "val")]
    assert [case.target.suffix for case in cases] == [".png", ".png"]
    assert looks_like_pairs(tmp_path)


def test_pairs_whose_names_have_dots(tmp_path) -> None:
    for folder, name in [(f, n) for f in ("low", "high") for n in ("t1.5", "t1.6")]:
        _write(tmp_path / folder / f"{name}.tif")
    assert [(case.name, case.target.name) for case in read_restore_cases(tmp_path)] == [
        ("t1.5", "t1.5.tif"),
        ("t1.6", "t1.6.tif"),
    ]


def test_a_table_of_pairs_images_and_clean_images(tmp_path) -> None:
    for name in "abc":
        _write(tmp_path / f"{name}.tif")
    table = tmp_path / "data.csv"
    table.write_text("image,target,split,patient\na.tif,b.tif,train,p1\n,c.tif,val,\nb.tif,,train,p2\n")
    first, second, third = read_restore_cases(table)
    assert (first.name, first.target.name, first.patient) == ("a", "b.tif", "p1")
    assert (second.image.name, second.target, second.split) == ("b.tif", None, "train")
    assert (third.image, third.name, third.split) == (None, "c", "val")
    assert looks_like_pairs(table)


def test_an_index_beside_the_folders(tmp_path) -> None:
    for folder in ("low", "high"):
        _write(tmp_path / folder / "x.tif")
    (tmp_path / "index.csv").write_text("file,height,split\nx.tif,13,val\n")
    (case,) = read_restore_cases(tmp_path)
    assert (case.image.parent.name, case.target.parent.name, case.split) == ("low", "high", "val")


def test_images_alone(tmp_path) -> None:
    _write(tmp_path / "b.tif")
    _write(tmp_path / "a.png")
    assert [(case.name, case.target) for case in read_restore_cases(tmp_path)] == [("a", None), ("b", None)]
    assert not looks_like_pairs(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,target\nmissing.tif,a.tif\n", "missing.tif"),
        ("image,target\n,\n", "neither an image nor a target"),
        ("picture,class\na.tif,3\n", "expected 'image' and 'target'"),
        ("image,target\n", "no rows"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, said) -> None:
    _write(tmp_path / "a.tif")
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(ImageError, match=said):
        read_restore_cases(tmp_path / "data.csv")


def test_sources_that_hold_nothing(tmp_path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_restore_cases(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="holds no images"):
        read_restore_cases(tmp_path)
    _write(tmp_path / "low" / "a.tif")
    _write(tmp_path / "high" / "b.tif")
    with pytest.raises(ImageError, match="no file of the same name"):
        read_restore_cases(tmp_path)


def _sample(tmp_path, first, second, factor=1):
    (tmp_path / "data.csv").write_text("image,target\nimage.tif,target.tif\n")
    _write(tmp_path / "image.tif", **first)
    _write(tmp_path / "target.tif", **second)
    return load_restore_sample(read_restore_cases(tmp_path / "data.csv")[0], factor)


def test_frames_and_channels_come_first(tmp_path) -> None:
    grid = Grid((4, 13, 17), (2.0, 0.5, 0.4), unit="micrometer")
    both = {"shape": (2, 4, 3, 13, 17), "axes": "TCZYX", "grid": None}
    sample = _sample(tmp_path, {**both, "shape": (2, 3, 4, 13, 17), "grid": grid},
                     {**both, "shape": (2, 3, 4, 13, 17), "grid": grid})  # fmt: skip
    assert sample.image.shape == sample.target.shape == (2, 3, 4, 13, 17)
    assert (sample.image.dtype, sample.grid) == (np.float32, grid)


def test_a_colour_image_has_named_channels(tmp_path) -> None:
    colour = {"shape": (3, 13, 17), "axes": "CYX", "channels": RGB}
    sample = _sample(tmp_path, colour, colour)
    assert (sample.image.shape, sample.channels) == ((1, 3, 13, 17), RGB)


@pytest.mark.parametrize(
    ("first", "second", "factor", "said"),
    [
        ((13, 17), (13, 18), 1, r"\(13, 17\).*\(13, 18\); they must be equal"),
        ((13, 17), (26, 34), 4, r"with the factor 4 it must have \(52, 68\)"),
        ((13, 17), (27, 34), 2, r"\(27, 34\); with the factor 2"),
    ],
)
def test_pairs_of_unequal_size(tmp_path, first, second, factor, said) -> None:
    with pytest.raises(InputMismatch, match=said):
        _sample(tmp_path, {"shape": first}, {"shape": second}, factor)


def test_pairs_of_unequal_frames_or_channels(tmp_path) -> None:
    with pytest.raises(InputMismatch, match=r"2 frames.*3; they must be equal"):
        _sample(tmp_path, {"shape": (2, 13, 17), "axes": "TYX"}, {"shape": (3, 13, 17), "axes": "TYX"})
    with pytest.raises(InputMismatch, match=r"2 channels.*1; they must be equal"):
        _sample(tmp_path, {"shape": (2, 13, 17), "axes": "CYX"}, {"shape": (13, 17)})


def test_blocks_that_do_not_fit_are_cut_off() -> None:
    array = np.arange(2 * 5 * 7, dtype=np.uint8).reshape(2, 5, 7)
    coarse, covered = coarser(array, (2, 3))
    np.testing.assert_array_equal(covered, array[:, :4, :6])
    assert coarse.shape == (2, 2, 2)
    assert coarse[1, 1, 0] == array[1, 2:4, 0:3].mean()
    with pytest.raises(InputMismatch, match="cannot be made coarser"):
        coarser(array, (6, 3))
