"""Which files a batch takes, and what their outputs are called."""

import json
from pathlib import Path

import pytest

from deepbio.errors import ImageError
from deepbio.inputs import RECORD, Input, find_inputs, plan_names, read_record, split_suffix


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
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "stack.zarr").mkdir()
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
        (["stack.zarr"], ["stack.zarr"]),
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
        (["a/*.jpg"], "No image matches 'a/*.jpg'."),
        ([], "There is no input."),
    ],
)
def test_nothing_found_is_an_error(tree: Path, given: list[str], message: str) -> None:
    with pytest.raises(ImageError) as caught:
        find_inputs(given)
    assert caught.value.message == message
    assert caught.value.hint


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


def write_record(folder: Path, name: str, file: Path) -> None:
    record = {"input": {"path": str(file.resolve())}, "seconds": 1.0, "objects": 3}
    (folder / f"{name}{RECORD}").write_text(json.dumps(record))


def names(files: list[str], folder: Path) -> dict[str, str]:
    return {str(file): name for file, name in plan_names([Input(Path(f)) for f in files], folder).items()}


def test_names_are_the_inputs_own(tree: Path) -> None:
    assert names(["a/cell.tif", "b/x.png"], tree / "out") == {"a/cell.tif": "cell", "b/x.png": "x"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a/cell.tif", "b/cell.tif"], ["a_cell", "b_cell"]),
        (["a/cell.tif", "b/CELL.tif"], ["a_cell", "b_CELL"]),  # equal for many file systems
        (["a/p/cell.tif", "b/p/cell.tif", "c.tif"], ["a_p_cell", "b_p_cell", "c"]),
    ],
)
def test_same_names_get_their_folders(tree: Path, files: list[str], expected: list[str]) -> None:
    assert list(names(files, tree / "out").values()) == expected


def test_a_name_that_is_taken_gets_one_more_folder(tree: Path) -> None:
    found = names(["a/cell.tif", "b/cell.tif", "x/a_cell.tif"], tree / "out")
    assert list(found.values()) == [f"{tree.name}_a_cell", "b_cell", "a_cell"]


def test_same_stem_in_one_folder(tree: Path) -> None:
    found = list(names(["a/cell.tif", "a/cell.png"], tree / "out").values())
    assert len(set(found)) == 2
    assert found[0].endswith("cell_tif")
    assert found[1].endswith("cell_png")


def test_names_of_an_earlier_run_stay(tree: Path) -> None:
    out = tree / "out"
    out.mkdir()
    write_record(out, "cell", tree / "b" / "cell.nii.gz")
    assert names(["a/cell.tif", "b/cell.nii.gz"], out) == {"a/cell.tif": "a_cell", "b/cell.nii.gz": "cell"}
    assert names(["a/cell.tif"], out) == {"a/cell.tif": "a_cell"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"input": 3, "seconds": 1, "objects": 2}', '{"seconds": 1}']
)
def test_what_is_no_record_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.deepbio.json").write_text(text)
    assert read_record(tmp_path / "x.deepbio.json") is None
    assert read_record(tmp_path / "missing.deepbio.json") is None
