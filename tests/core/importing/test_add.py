"""Adding models of any kind: from Python, on the command line, from a zip."""

import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("torch")

import deepbio
from deepbio.errors import CardError, MissingPackage
from deepbio.importing import ImportChoice, add_model
from deepbio.importing.monai import is_part_of_bundle
from deepbio.importing.nnunet import is_part_of_training
from deepbio.importing.stardist import is_part_of_stardist
from tests.core.command import deepbio as command

from .conftest import NNUNET


def test_a_folder_becomes_a_model_with_a_name_of_its_own(library: Path) -> None:
    card = deepbio.add_model(NNUNET / "plain_3d")
    assert (card.name, card.root) == ("plain-3d_fullres", library / "plain-3d_fullres")
    assert card.title == "Dataset901_Plain (3d_fullres nnU-Net)"
    assert [one.name for one in deepbio.list_models() if one.root.parent == library] == [card.name]
    with pytest.raises(CardError, match="already a model 'plain-3d_fullres'"):
        add_model(NNUNET / "plain_3d")
    again = add_model(NNUNET / "plain_3d", replace=True, choice=ImportChoice(folds=("1",)))
    assert again.deepbio["network"]["name"] == "unet"
    assert [path.name for path in library.iterdir()] == ["plain-3d_fullres"]  # nothing is left behind


def test_a_zip_of_nnunet_is_taken(library: Path, tmp_path: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((NNUNET / "regions_3d").rglob("*.*")):
            file.write(path, f"Dataset902_Regions/t__p__3d_fullres/{path.relative_to(NNUNET / 'regions_3d')}")
    assert add_model(archive, name="brain").name == "brain"
    assert deepbio.find_model("brain").deepbio["decode"] == {"method": "regions", "regions": [1, 2]}


# What marks a zip as one of each kind, and a member that is read of it.
KINDS = {
    "nnU-Net": (
        is_part_of_training,
        ("Dataset901/t__p__2d/plans.json", b"{}"),
        "fold_0/checkpoint_final.pth",
    ),
    "MONAI": (is_part_of_bundle, ("spleen/configs/metadata.json", b"{}"), "models/model.pt"),
    "StarDist": (is_part_of_stardist, ("fluo/config.json", b'{"n_rays": 32}'), "weights_best.h5"),
}


@pytest.mark.parametrize(("is_part", "mark", "part"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("way", ["../", "/"])
def test_a_zip_of_others_that_would_leave_its_folder_is_refused(
    library: Path, tmp_path: Path, is_part, mark: tuple[str, bytes], part: str, way: str
) -> None:
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(*mark)
        file.writestr(way + part, b"evil")
    assert is_part(mark[0])
    with pytest.raises(CardError, match="leaves the model package"):
        add_model(archive)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["evil.zip"]
    assert not Path("/", part).exists()


@pytest.mark.parametrize(("is_part", "mark", "part"), KINDS.values(), ids=KINDS)
def test_of_a_zip_of_others_nothing_but_the_model_is_wanted(is_part, mark, part: str) -> None:
    names = (mark[0], part, "evil.py", "fold_0/progress.png", "saved_model/variables.index", ".", "..")
    assert [name for name in names if is_part(name)] == [mark[0], part]


def test_packages_of_bioimageio_are_added_as_before(library: Path) -> None:
    package = NNUNET.parent / "bioimageio_unet2d_nuclei_broad.zip"
    assert add_model(package, name="broad").name == "broad"
    with pytest.raises(
        CardError, match=r"is no model of nnU-Net or MONAI, of which nothing can be chosen; found orientation"
    ):
        add_model(package, name="other", choice=ImportChoice(orientation="SAR"))
    with pytest.raises(CardError, match="There is no folder or zip"):
        add_model("missing.zip")
    assert [path.name for path in library.iterdir()] == ["broad"]


def test_what_cannot_be_imported_leaves_nothing_behind(library: Path, changed) -> None:
    folder = changed("plain_3d", plans=lambda plans: plans.pop("transpose_forward"))
    with pytest.raises(CardError, match="KeyError 'transpose_forward'"):
        add_model(folder)
    assert not library.exists() or not list(library.iterdir())


def test_the_command_adds_and_runs_it(library: Path, tmp_path: Path) -> None:
    done = command(
        "models", "add", NNUNET / "regions_3d", "--name", "brain", "--orientation", "sar", "--fold", "0"
    )
    assert done.code == 0
    assert "Added brain (Dataset902_Regions (3d_fullres nnU-Net))" in done.out
    assert deepbio.find_model("brain").deepbio["grid"]["orientation"] == "SAR"
    cases = [NNUNET / "cases" / f"masked_000{k}.nii.gz" for k in (0, 1)]
    done = command("run", "brain", *cases, "-o", tmp_path / "out", "--save", "labels,table")
    assert done.code == 0
    labels = deepbio.read_labels(tmp_path / "out" / "masked-labels.nii.gz")
    assert sorted(set(labels.numpy().ravel().tolist())) == [0, 1, 2]
    header = (tmp_path / "out" / "masked-table.csv").read_text().splitlines()[0]
    assert "mean_T1" in header
    assert "mean_made" in header
    failed = command("models", "add", NNUNET / "regions_3d", "--checkpoint", "latest")
    assert failed.code != 0
    assert "no checkpoint 'latest'" in failed.err


def test_without_torch_the_missing_package_is_named(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "deepbio.importing.nnunet_package", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingPackage, match="Importing a training of nnU-Net needs the package 'torch'"):
        add_model(NNUNET / "plain_3d")
