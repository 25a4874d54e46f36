"""Imported models give what nnU-Net 2.8 gives: labels and probabilities that tests/data/nnunet/make.py saved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax

torch = pytest.importorskip("torch")

from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.errors import CardError, InputMismatch, WeightsError  # noqa: E402
from deepbio.importing.choice import ImportChoice  # noqa: E402
from deepbio.importing.nnunet_package import write_nnunet_package  # noqa: E402
from deepbio.io import read  # noqa: E402
from deepbio.library.check import check_package, validate_package  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import Model, load_model  # noqa: E402
from deepbio.tasks.result import Result  # noqa: E402

from .conftest import NNUNET  # noqa: E402

PLAIN = ["asis", "fine", "coarse", "thick", "large"]
# nnU-Net adds up its tiles in half precision, which alone changes up to so many of the labelled pixels
HALF = 4e-3


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    """``models("plain_3d", folds=("1",))`` imports and loads."""
    made: dict[tuple[str, str], Model] = {}

    def load(name: str, **choice: object) -> Model:
        key = name, str(choice)
        if key not in made:
            folder = tmp_path_factory.mktemp("imported")
            card = write_nnunet_package(NNUNET / name, folder, ImportChoice(**choice))  # type: ignore[arg-type]
            made[key] = load_model(card.root)
        return made[key]

    return load


def _run(model: Model, *files: str, mirror: bool = False) -> Result:
    paths = [NNUNET / "cases" / f"{file}.nii.gz" for file in files]
    options = RunOptions(output=("labels", "scores"), runtime="torch", precision="fp32", mirror=mirror)
    return model.run(read(paths if len(paths) > 1 else paths[0]), options)


def _compare(result: Result, expected: str, *, regions: bool = False) -> None:
    told = np.load(NNUNET / "expected" / f"{expected}.npz")
    labels, scores = result.labels.numpy(), result.scores.numpy()
    scores = np.moveaxis(scores, result.scores.axes.index("C"), 0)
    assert labels.shape == told["labels"].shape
    assert (told["labels"] > 0).sum() > 300
    # in single precision nnU-Net's labels are ours, but for rounding
    assert (labels != told["exact"]).sum() <= 1
    assert (labels != told["labels"]).sum() / (told["labels"] > 0).sum() < HALF
    found = expit(scores) if regions else softmax(scores, axis=0)[1:]
    computed = scores.any(axis=0)  # the rest was cropped away
    np.testing.assert_allclose(
        found[:, computed], told["probabilities"][:, computed], atol=6e-4
    )  # kept as float16
    assert not labels[~computed].any()


@pytest.mark.parametrize("case", PLAIN)
def test_two_folds_in_3d_on_any_grid(models, case: str) -> None:
    _compare(_run(models("plain_3d"), case), f"plain_3d-{case}")


@pytest.mark.parametrize("case", PLAIN)
def test_slices_share_the_statistics_of_their_volume_in_2d(models, case: str) -> None:
    _compare(_run(models("plain_2d"), case), f"plain_2d-{case}")


@pytest.mark.parametrize("case", ["masked", "finer"])
def test_regions_of_two_masked_channels_with_turned_axes(models, case: str) -> None:
    result = _run(models("regions_3d"), f"{case}_0000", f"{case}_0001")
    _compare(result, f"regions_3d-{case}", regions=True)
    assert result.labels.names == {1: "hippocampus without posterior", 2: "posterior"}


def test_one_fold_and_mirror_images(models) -> None:
    _compare(_run(models("plain_3d", folds=("1",)), "fine"), "plain_3d-fine-fold1")
    _compare(_run(models("plain_3d"), "coarse", mirror=True), "plain_3d-coarse-mirrored")


def test_the_card_says_what_the_plans_say(models) -> None:
    card = models("regions_3d").card
    assert (card.name, card.task, card.modality) == ("regions-3d_fullres", "segment", ())
    assert (card.license, card.input.channels) == ("CC-BY-SA-4.0", ("T1", "made"))
    assert card.deepbio["grid"] == {
        "spacing": [1.0, 1.0, 4.0], "unit": "millimeter", "crop": "nonzero", "interpolation": "nnunet", "inside": "nonzero",
    }  # fmt: skip
    tile = {"size": [32, 48, 7], "overlap": 0.5, "fixed": True, "pad": "zero", "blend": "nnunet"}
    assert card.deepbio["tile"] == tile
    assert sorted(card.deepbio["mirror"]) == [0, 1, 2]
    assert card.deepbio["channel_files"] is True
    assert card.deepbio["origin"]["folds"] == ["0"]
    assert "Channels in this order: T1, made." in card.documentation.read_text()
    plain = models("plain_3d").card
    assert (plain.modality, plain.deepbio["network"]["name"]) == (("MR",), "ensemble")
    assert "channel_files" not in plain.deepbio
    assert models("plain_2d").card.deepbio["per_slice"] is True


# bioimageio.spec leaves files open and says so by its own warnings
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["plain_3d", "plain_2d", "regions_3d"])
def test_the_package_passes_its_own_test_and_the_format(models, name: str) -> None:
    card = models(name).card
    assert check_package(card, run_tensors).passed
    pytest.importorskip("bioimageio.spec")
    assert list(validate_package(card.root)) == []


def test_images_are_brought_to_the_orientation_that_the_user_names(tmp_path: Path, models) -> None:
    card = write_nnunet_package(NNUNET / "plain_3d", tmp_path, ImportChoice(orientation="SAR"))
    assert card.deepbio["grid"]["orientation"] == "SAR"
    image = read(NNUNET / "cases" / "fine.nii.gz")
    options = RunOptions(output=("labels",), runtime="torch", precision="fp32")
    found = load_model(card.root).run(image, options).labels
    assert found.grid == image.grid
    # the file's own axes point to S, P, L: that is two mirror images away from SAR
    flipped = image.numpy()[:, ::-1, ::-1]
    plain = models("plain_3d").run(type(image)(flipped, "ZYX", image.grid), options).labels
    np.testing.assert_array_equal(found.numpy(), plain.numpy()[:, ::-1, ::-1])


def test_a_channel_that_is_missing_is_told(models) -> None:
    with pytest.raises(InputMismatch, match="takes 2 channels; the image has 1"):
        _run(models("regions_3d"), "masked_0000")


def test_scores_of_the_folds_own_validation_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(NNUNET / "plain_3d", folder)
    summary = folder / "fold_1" / "validation" / "summary.json"
    summary.parent.mkdir()
    summary.write_text(json.dumps({"foreground_mean": {"Dice": 0.87654}, "metric_per_case": [{}, {}, {}]}))
    card = write_nnunet_package(folder, tmp_path / "out", ImportChoice())
    (row,) = card.scores
    assert (row["split"], row["metric"], row["value"], row["n"]) == ("fold 1", "Dice", 0.8765, 3)
    summary.write_text("{}")
    with pytest.raises(CardError, match=r"summary\.json' is not what nnU-Net writes"):
        write_nnunet_package(folder, tmp_path / "out2", ImportChoice())


def test_a_checkpoint_of_another_program_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(NNUNET / "regions_3d", folder)
    torch.save({"state_dict": {}}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(WeightsError, match="does not say which configuration it is of"):
        write_nnunet_package(folder, tmp_path, ImportChoice())
    shutil.copy(NNUNET / "plain_3d" / "fold_0" / "checkpoint_final.pth", folder / "fold_0")
    with pytest.raises(WeightsError, match="does not fit the network of the plans"):
        write_nnunet_package(folder, tmp_path, ImportChoice())
