"""What the outputs of a batch are called."""

from pathlib import Path

import pytest

from deepbio.inputs import Input
from deepbio.naming import plan_names
from tests.core.test_inputs import write_record


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(files: list[str], folder: Path) -> dict[str, str]:
    return {str(file): name for file, name in plan_names([Input(Path(f)) for f in files], folder).items()}


def test_names_are_the_inputs_own(tmp_path: Path) -> None:
    assert names(["a/cell.tif", "b/x.png"], tmp_path / "out") == {"a/cell.tif": "cell", "b/x.png": "x"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a/cell.tif", "b/cell.tif"], ["a_cell", "b_cell"]),
        (["a/cell.tif", "b/CELL.tif"], ["a_cell", "b_CELL"]),  # equal for many file systems
        (["a/p/cell.tif", "b/p/cell.tif", "c.tif"], ["a_p_cell", "b_p_cell", "c"]),
    ],
)
def test_same_names_get_their_folders(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    assert list(names(files, tmp_path / "out").values()) == expected


def test_a_name_that_is_taken_gets_one_more_folder(tmp_path: Path) -> None:
    found = names(["a/cell.tif", "b/cell.tif", "x/a_cell.tif"], tmp_path / "out")
    assert list(found.values()) == [f"{tmp_path.name}_a_cell", "b_cell", "a_cell"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a/cell.tif", "a/cell.png"], ["cell_tif", "cell_png"]),
        (["a/cell.tif", "a/cell.png", "b/cell.png"], ["cell_tif", "cell_png", "cell"]),
        (["a/x.tif", "a/x.png", "b/x.tif", "b/x.png"], ["a_x_tif", "a_x_png", "b_x_tif", "b_x_png"]),
        (["a/cell.tif", "a/Cell.TIF", "a/CELL.tif"], ["cell_tif", "Cell_tif_2", "CELL_tif_3"]),
    ],
)
def test_same_stem_in_one_folder(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    """Their suffixes tell them apart, not all the folders above them, which they share."""
    assert list(names(files, tmp_path / "out").values()) == expected


def test_where_folders_are_used_up_numbers_follow(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_record(out, "c", Path("/elsewhere/c.tif"))
    write_record(out, "x_c", Path("/elsewhere/x_c.tif"))
    assert names(["/x/c.tif"], out) == {"/x/c.tif": "x_c_2"}


def test_names_of_an_earlier_run_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_record(out, "cell", tmp_path / "b" / "cell.nii.gz")
    assert names(["a/cell.tif", "b/cell.nii.gz"], out) == {"a/cell.tif": "a_cell", "b/cell.nii.gz": "cell"}
    assert names(["a/cell.tif"], out) == {"a/cell.tif": "a_cell"}
