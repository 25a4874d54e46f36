"""Finding and reading what nnU-Net left behind."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deepbio.errors import CardError, OptionError
from deepbio.importing.choice import ImportChoice
from deepbio.importing.nnunet import find_trainings, is_part_of_training, read_training
from deepbio.library.archive import unpack_some

from .conftest import NNUNET


def test_the_training_is_found_below_the_folder_of_the_data_set(tmp_path: Path) -> None:
    whole = tmp_path / "results" / "Dataset901_Plain"
    shutil.copytree(NNUNET / "plain_3d", whole / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    for start in (tmp_path / "results", whole, whole / "nnUNetTrainer__nnUNetPlans__3d_fullres"):
        assert find_trainings(start, start) == whole / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    shutil.copytree(NNUNET / "plain_2d", whole / "nnUNetTrainer__nnUNetPlans__2d")
    with pytest.raises(
        CardError, match=r"holds 2 trainings of nnU-Net: nnUNetTrainer__nnUNetPlans__2d, nnUNetTr"
    ) as told:
        find_trainings(whole, whole)
    assert told.value.hint == "Name the folder of one."
    (tmp_path / "bare").mkdir()
    shutil.copy(NNUNET / "plain_3d" / "plans.json", tmp_path / "bare")
    with pytest.raises(CardError, match=r"without the dataset\.json"):
        find_trainings(tmp_path / "bare", tmp_path / "bare")


def test_folds_and_checkpoints_are_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(NNUNET / "plain_3d", folder)
    for name in ("all", "2"):
        (folder / f"fold_{name}").mkdir()
        shutil.copy(
            folder / "fold_0" / "checkpoint_final.pth", folder / f"fold_{name}" / "checkpoint_best.pth"
        )
    shutil.copy(folder / "fold_0" / "checkpoint_final.pth", folder / "fold_all")

    def names(**choice: object) -> list[str]:
        return [fold.name for fold in read_training(folder, ImportChoice(**choice)).folds]  # type: ignore[arg-type]

    assert names() == ["0", "1"]  # 'all' is another network on the same data
    assert names(folds=("all",)) == ["all"]
    assert names(folds=("1", "0")) == ["1", "0"]
    assert names(checkpoint="best") == ["2"]
    with pytest.raises(CardError, match=r"no fold '4' in .*; it has 0, 1, all"):
        names(folds=("0", "4"))
    shutil.rmtree(folder / "fold_2")
    shutil.rmtree(folder / "fold_all")
    with pytest.raises(CardError, match=r"has no fold with checkpoint_best\.pth") as told:
        names(checkpoint="best")
    assert "Choose the other checkpoint" in told.value.hint
    with pytest.raises(OptionError, match="no checkpoint 'latest'; expected one of final, best"):
        names(checkpoint="latest")
    with pytest.raises(CardError, match="orientation 'XYZ'"):
        names(orientation="XYZ")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("plans.json", "{", "is not JSON"),
        ("plans.json", "[1]", "holds list; expected a JSON object"),
        ("plans.json", "{}", "has no configurations and no dataset_name: it is not of nnU-Net v2"),
        ("dataset.json", "{}", "has no labels"),
        ("dataset.json", None, "cannot be read: No such file"),
    ],
)
def test_files_that_are_not_of_nnunet_are_told(
    changed: Callable[..., Path], file: str, text: str | None, message: str
) -> None:
    path = changed("plain_3d") / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(CardError, match=message):
        read_training(path.parent, ImportChoice())


def test_of_a_zip_only_what_is_needed_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as file:
        for path in sorted((NNUNET / "plain_3d").rglob("*.*")):
            file.write(path, f"Dataset901_Plain/t__p__3d_fullres/{path.relative_to(NNUNET / 'plain_3d')}")
        file.writestr("Dataset901_Plain/t__p__3d_fullres/fold_0/progress.png", b"x")
        file.writestr("Dataset901_Plain/evil.py", b"x")
    unpack_some(tmp_path / "export.zip", tmp_path / "out", is_part_of_training)
    found = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"plans.json", "dataset.json", "checkpoint_final.pth"}
    folder = find_trainings(tmp_path / "out", tmp_path / "export.zip")
    assert json.loads((folder / "plans.json").read_text())["dataset_name"] == "Dataset901_Plain"


def test_a_zip_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr("a/plans.json", "{}")
        file.writestr("../../checkpoint_final.pth", b"x")
    with pytest.raises(CardError):
        unpack_some(tmp_path / "bad.zip", tmp_path / "deep" / "out", is_part_of_training)
    assert not (tmp_path / "checkpoint_final.pth").exists()
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(CardError, match="is not a sound zip"):
        unpack_some(tmp_path / "text.zip", tmp_path / "out", is_part_of_training)
